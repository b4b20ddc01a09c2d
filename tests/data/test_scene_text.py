from hypothesis import given
from hypothesis import strategies as st

from vicur.answers import extract_answer
from vicur.data.rendering import COLOURS
from vicur.data.scene_text import (
    DESCRIBE_QUESTION,
    KINDS,
    Question,
    Scene,
    askable,
    asked_together,
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
    return askable(SCENE, kind)[number].question()


def _said(question: Question) -> tuple[str, str]:
    return question.question, question.reference


def test_the_texts_read_as_they_should() -> None:
    assert _said(_ask("column_sum", 0)) == (
        "What is the sum of the left column?",
        "The left column holds 3 and 5. 3 plus 5 is 8. Answer: 8",
    )
    assert _said(_ask("column_difference", 2)) == (
        "What is the difference of the right column?",
        "The right column holds 1 and 8. 8 minus 1 is 7. Answer: 7",
    )
    assert _said(_ask("colour_sum", 0)) == (
        "What is the sum of the red digit and the blue digit?",
        "The red digit is 3 and the blue digit is 7. 3 plus 7 is 10. Answer: 10",
    )
    assert _said(_ask("colour_larger", 0)) == (
        "Which is larger, the red digit or the blue digit?",
        "The red digit is 3 and the blue digit is 7. The larger of 3 and 7 is 7. Answer: 7",
    )
    assert _said(_ask("row_largest", 0)) == (
        "What is the largest digit in the top row?",
        "The top row holds 3, 7 and 1. The largest of them is 7. Answer: 7",
    )
    assert _said(_ask("row_even", 0)) == (
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
        for candidate in askable(scene, kind):
            values = [item["value"] for item in candidate.evidence]
            digits = values[0] if isinstance(values[0], list) else values
            assert candidate.answer == work_out[kind](digits)


@given(SCENES)
def test_evidence_follows_from_the_scene(scene: Scene) -> None:
    truth = {
        f"{colour} digit": digit
        for colours, digits in zip(scene.colours, scene.digits, strict=True)
        for colour, digit in zip(colours, digits, strict=True)
    }
    truth |= {f"{name} row": list(row) for name, row in zip(("top", "bottom"), scene.digits, strict=True)}
    columns = zip(*scene.digits, strict=True)
    truth |= {f"{name} column": list(column) for name, column in zip(("left", "middle", "right"), columns, strict=True)}
    for kind in KINDS:
        for candidate in askable(scene, kind):
            assert all(truth[item["subject"]] == item["value"] for item in candidate.evidence)
            assert all(item["subject"] in candidate.question().cue for item in candidate.evidence)


@given(SCENES)
def test_texts_use_only_the_vocabulary(scene: Scene) -> None:
    known = set(vocabulary())
    texts = [describe(scene.as_metadata()), DESCRIBE_QUESTION]
    for kind in KINDS:
        for candidate in askable(scene, kind):
            question = candidate.question()
            texts += [question.question, question.reference]
    assert {word for text in texts for word in words(text)} <= known


def test_the_vocabulary_is_small_sorted_and_holds_every_number() -> None:
    vocabulary_ = vocabulary()
    assert len(vocabulary_) < 90
    assert vocabulary_ == sorted(set(vocabulary_))
    assert {str(number) for number in range(28)} <= set(vocabulary_)
    assert {"Hint", "[", "]", ":", "helpful", "Describe"} <= set(vocabulary_)


def test_of_equal_digits_none_is_asked_to_be_the_larger() -> None:
    equal = Scene(digits=((4, 4, 4), (4, 4, 4)), colours=SCENE.colours, digit_ids=SCENE.digit_ids)
    assert askable(equal, "colour_larger") == []
    assert len(askable(equal, "colour_sum")) == 30


def test_questions_asked_together_take_a_long_response_and_the_last_answer_counts() -> None:
    questions = [_ask(kind, 0) for kind in list(KINDS)[:5]]
    asked = asked_together(questions, SCENE)
    assert len(words(asked.reference)) > 100
    assert asked.reference.startswith(describe(SCENE.as_metadata()))
    assert extract_answer(asked.reference) == asked.answer == questions[-1].answer
    assert (asked.kind, asked.evidence) == (questions[-1].kind, questions[-1].evidence)
    assert all(q.question in asked.question and q.cue in asked.cue for q in questions)
    assert set(words(f"{asked.question} {asked.reference}")) <= set(vocabulary())
