"""A word that the prompt itself shows, in the question or in a choice, is no leak of the hint."""

from __future__ import annotations

import pytest

from vicur.cues.leaks import find_leak
from vicur.data.schema import Example
from vicur.evaluation.predictions import check_response

ASKED = Example(
    id="e",
    images=(),
    question="What does the label show?",
    choices=("a hint of lemon", "a cat"),
    answer="B",
    source="test",
    split="test",
)


@pytest.mark.parametrize(
    ("response", "leaks"),
    [("It is no hint of lemon. Answer: B", 0), ("The [Hint] says so. Answer: B", 1)],
)
def test_a_word_of_a_choice_is_no_leak_of_the_hint(response: str, leaks: int) -> None:
    assert check_response(ASKED, response, tokens=1, finished=True).hint_leaks == leaks


def test_a_prediction_shows_the_question_with_its_choices() -> None:
    shown = check_response(ASKED, "Answer: B", tokens=1, finished=True).question
    assert shown == "What does the label show?\nA. a hint of lemon\nB. a cat"


def test_a_cue_may_describe_what_a_choice_names() -> None:
    assert find_leak("The label shows a cat and a lemon.", ASKED) is None
    assert find_leak("The answer is B.", ASKED) is not None
