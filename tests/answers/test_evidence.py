import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.answers.examples import example
from vicur.answers import evidence_is_right, hint_leaks
from vicur.data.schema import Example


def colours() -> Example:
    return example("12", evidence=[{"subject": "red digit", "value": 7}, {"subject": "blue digit", "value": 5}])


def column() -> Example:
    return example("12", evidence=[{"subject": "left column", "value": [7, 5]}])


def row() -> Example:
    return example("7", evidence=[{"subject": "top row", "value": [3, 7, 1]}])


@pytest.mark.parametrize(
    ("response", "truth"),
    [
        ("The red digit is 7 and the blue digit is 5. 7 plus 5 is 12. Answer: 12", colours()),
        ("the blue digit is 5, and the red digit is 7.", colours()),
        ("The red digit is seven. I see that the blue digit is 5.", colours()),
        ("The red digit is 7 and the blue digit is 5. The sum of the red digit and the blue digit is 12.", colours()),
        ("The left column holds 7 and 5. Answer: 3", column()),
        ("The top row holds 3, 7 and 1. The largest of them is 7.", row()),
        ("The top row holds 3 , 7 and 1 .", row()),
        ("The top row contains 3, 7, and 1.", row()),
    ],
)
def test_correct_evidence_is_accepted_whatever_the_answer(response: str, truth: Example) -> None:
    assert evidence_is_right(response, truth) is True


@pytest.mark.parametrize(
    ("response", "truth"),
    [
        ("", colours()),
        ("Answer: 12", colours()),
        ("The red digit is 7.", colours()),
        ("The red digit is 7 and the blue digit is 6.", colours()),
        ("The red digit is 7 and the blue digit is 5. No, the red digit is 8.", colours()),
        ("The red digit is not 7 and the blue digit is 5.", colours()),
        ("The sum of the red digit and the blue digit is 5. The red digit is 7.", colours()),
        ("The right column holds 7 and 5.", column()),
        ("The left column holds 5 and 7.", column()),
        ("The left column holds 7.", column()),
        ("The left column holds 7, 5 and 5.", column()),
        ("The left column holds 7 and 55.", column()),
        ("The top row holds 3, 7.", row()),
    ],
)
def test_missing_or_contradicted_evidence_is_rejected(response: str, truth: Example) -> None:
    assert evidence_is_right(response, truth) is False


def test_evidence_may_be_words() -> None:
    truth = example(
        "left", evidence=[{"subject": "car", "value": "dark red"}, {"subject": "flags", "value": ["red", "blue"]}]
    )
    assert evidence_is_right("The car is dark red. The flags are red and blue.", truth) is True
    assert evidence_is_right("The car is red. The flags are red and blue.", truth) is False


@pytest.mark.parametrize(
    "metadata", [{}, {"evidence": []}, {"evidence": None}, {"evidence": "none"}, {"evidence": [3]}]
)
def test_without_listed_evidence_the_result_is_none(metadata: dict[str, object]) -> None:
    assert evidence_is_right("The red digit is 7.", example("7", **metadata)) is None


@given(st.text(), st.text(min_size=1), st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.lists(st.text())))
def test_any_text_can_be_checked(response: str, subject: str, value: object) -> None:
    truth = example("7", evidence=[{"subject": subject, "value": value}])
    assert evidence_is_right(response, truth) in (True, False)
    assert evidence_is_right(f"{subject} is {response}", truth) in (True, False)


@pytest.mark.parametrize(
    ("response", "leaks"),
    [
        ("", 0),
        ("As the Hint says, the hint is right. HINT!", 3),
        ("[Hint]: 7", 1),
        ("Hints and hinting", 0),
        ("hint-like", 1),
        ("a_hint", 0),
    ],
)
def test_hint_leakage_counts_the_whole_word_in_any_case(response: str, leaks: int) -> None:
    assert hint_leaks(response) == leaks


@pytest.mark.parametrize(
    ("question", "response", "leaks"),
    [
        ("Which hint does the sign give?", "The hint on the sign says 7.", 0),
        ("Which hint does the sign give?", "As the [Hint]: says, it is 7.", 1),
        ("What is the sum?", "The hint says 7.", 1),
        ("What do hints say?", "The hint says 7.", 1),
    ],
)
def test_a_hint_in_the_question_is_no_leakage(question: str, response: str, leaks: int) -> None:
    assert hint_leaks(response, question) == leaks
