from hypothesis import given
from hypothesis import strategies as st

from vicur.answers import extract_answer
from vicur.data.rendering import COLOURS
from vicur.data.scene_text import (
    DESCRIBE_QUESTION,
    KINDS,
    Question,
    Scene,
    candidate_questions,
    combined,
    describe,
    vocabulary,
    words,
)


def _rows(items: list[int] | list[str]) -> tuple[tuple, ...]:
    return tuple(items[:3]), tuple(items[3:])


SCENES = st.builds(
    Scene,
    digits=st.lists(st.integers(0, 9), min_size=6, max_size=6).map(_rows),
    colours=st.permutations(list(COLOURS)).map(_rows),
    digit_ids=st.just(((0, 0, 0), (0, 0, 0))),
)
SCENE = Scene(
    digits=((3, 7, 1), (5, 5, 8)),
    colours=(("red", "blue", "green"), ("yellow", "purple", "orange")),
    digit_ids=((0, 1, 2), (3, 4, 5)),
)


def _ask(kind: str, number: int) -> Question:
    return candidate_questions(SCENE, kind)[number].question()


def _texts(question: Question) -> tuple[str, str]:
    return question.question, question.reference


def test_each_kind_of_question_and_reference() -> None:
    assert _texts(_ask("column_sum", 0)) == (
        "What is the sum of the left column?",
        "The left column holds 3 and 5. 3 plus 5 is 8. Answer: 8",
    )
    assert _texts(_ask("column_difference", 2)) == (
        "What is the difference of the right column?",
        "The right column holds 1 and 8. 8 minus 1 is 7. Answer: 7",
    )
    assert _texts(_ask("colour_sum", 0)) == (
        "What is the sum of the red digit and the blue digit?",
        "The red digit is 3 and the blue digit is 7. 3 plus 7 is 10. Answer: 10",
    )
    assert _texts(_ask("colour_larger", 0)) == (
        "Which is larger, the red digit or the blue digit?",
        "The red digit is 3 and the blue digit is 7. The larger of 3 and 7 is 7. Answer: 7",
    )
    assert _texts(_ask("row_largest", 0)) == (
        "What is the largest digit in the top row?",
        "The top row holds 3, 7 and 1. The largest of them is 7. Answer: 7",
    )
    assert _texts(_ask("row_even", 0)) == (
        "How many even digits are in the top row?",
        "The top row holds 3, 7 and 1. 0 of them are even. Answer: 0",
    )
    assert _ask("row_even", 1).step == "1 of them is even."
    assert describe(SCENE.as_metadata()) == (
        "Top row: red 3, blue 7, green 1. Bottom row: yellow 5, purple 5, orange 8."
    )


@given(SCENES)
def test_answers_follow_from_the_evidence(scene: Scene) -> None:
    work_out = {
        "column_sum": sum,
        "colour_sum": sum,
        "column_difference": lambda digits: max(digits) - min(digits),
        "colour_larger": max,
        "row_largest": max,
        "row_even": lambda digits: len([digit for digit in digits if digit in (0, 2, 4, 6, 8)]),
    }
    for kind in KINDS:
        for candidate in candidate_questions(scene, kind):
            values = [item["value"] for item in candidate.evidence]
            digits = values[0] if isinstance(values[0], list) else values
            assert candidate.answer == work_out[kind](digits)


@given(SCENES)
def test_the_evidence_matches_the_scene(scene: Scene) -> None:
    truth = {
        f"{colour} digit": digit
        for colours, digits in zip(scene.colours, scene.digits, strict=True)
        for colour, digit in zip(colours, digits, strict=True)
    }
    truth |= {f"{name} row": list(row) for name, row in zip(("top", "bottom"), scene.digits, strict=True)}
    columns = zip(*scene.digits, strict=True)
    truth |= {f"{name} column": list(column) for name, column in zip(("left", "middle", "right"), columns, strict=True)}
    for kind in KINDS:
        for candidate in candidate_questions(scene, kind):
            assert all(truth[item["subject"]] == item["value"] for item in candidate.evidence)
            assert all(item["subject"] in candidate.question().cue for item in candidate.evidence)


@given(SCENES)
def test_texts_use_only_words_of_the_vocabulary(scene: Scene) -> None:
    known = set(vocabulary())
    texts = [describe(scene.as_metadata()), DESCRIBE_QUESTION]
    for kind in KINDS:
        for candidate in candidate_questions(scene, kind):
            question = candidate.question()
            texts += [question.question, question.reference]
    assert {word for text in texts for word in words(text)} <= known


def test_the_vocabulary_is_small_sorted_and_contains_every_number() -> None:
    vocabulary_ = vocabulary()
    assert len(vocabulary_) < 90
    assert vocabulary_ == sorted(set(vocabulary_))
    assert {str(number) for number in range(28)} <= set(vocabulary_)
    assert {"Hint", "[", "]", ":", "helpful", "Describe"} <= set(vocabulary_)


def test_equal_digits_give_no_question_about_the_larger() -> None:
    equal = Scene(digits=((4, 4, 4), (4, 4, 4)), colours=SCENE.colours, digit_ids=SCENE.digit_ids)
    assert candidate_questions(equal, "colour_larger") == []
    assert len(candidate_questions(equal, "colour_sum")) == 30


def test_combined_questions_need_a_long_response_whose_last_answer_counts() -> None:
    questions = [_ask(kind, 0) for kind in list(KINDS)[:5]]
    question = combined(questions, SCENE)
    assert len(words(question.reference)) > 100
    assert question.reference.startswith(describe(SCENE.as_metadata()))
    assert extract_answer(question.reference) == question.answer == questions[-1].answer
    assert (question.kind, question.evidence) == (questions[-1].kind, questions[-1].evidence)
    assert all(q.question in question.question and q.cue in question.cue for q in questions)
    assert set(words(f"{question.question} {question.reference}")) <= set(vocabulary())
