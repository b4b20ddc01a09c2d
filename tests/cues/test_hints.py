"""Hints: the text of each privilege and its place in the prompt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, get_args

import pytest

from vicur.config.methods import TeacherPrivilege
from vicur.cues.hints import HINT_MARKER, Privilege, hint_for, with_hint

REFERENCE = "The left column holds 7 and 5. 7 plus 5 is 12. Answer: 12"


def example(**changes: Any) -> Any:
    fields = {
        "answer": "12",
        "choices": (),
        "rationale": "7 plus 5 is 12.",
        "cue": "annotated",
        "metadata": {"reference": REFERENCE},
    }
    return SimpleNamespace(**{**fields, **changes})


@pytest.mark.parametrize(
    ("privilege", "text"),
    [
        ("answer", "Answer: 12"),
        ("rationale", "7 plus 5 is 12."),
        ("cue", "The left column holds 7 and 5."),
        ("solution", REFERENCE),
        ("none", None),
    ],
)
def test_each_privilege_gives_its_text(privilege: Privilege, text: str | None) -> None:
    assert hint_for(privilege, example(), "The left column holds 7 and 5.") == text


def test_the_answer_of_a_multiple_choice_question_is_given_with_letter_and_text() -> None:
    assert hint_for("answer", example(answer="C", choices=("7", "5", "12", "9")), None) == "Answer: C. 12"


def test_every_privilege_of_a_teacher_is_handled_and_any_other_is_an_error() -> None:
    for privilege in get_args(TeacherPrivilege):
        assert (hint_for(privilege, example(), "cue") is None) == (privilege == "none")
    with pytest.raises(AssertionError, match="oracle"):
        hint_for("oracle", example(), "cue")  # type: ignore[arg-type]


@pytest.mark.parametrize("privilege", ["rationale", "cue", "solution"])
def test_an_example_without_the_privilege_has_no_hint(privilege: Privilege) -> None:
    assert hint_for(privilege, example(rationale=None, metadata={}), None) is None


def test_a_blank_cue_gives_no_hint() -> None:
    assert hint_for("cue", example(), "  \n") is None


def test_the_hint_uses_the_extracted_cue_instead_of_the_annotation() -> None:
    assert hint_for("cue", example(cue="annotated"), "extracted") == "extracted"


def test_the_hint_follows_the_question_after_its_marker() -> None:
    assert with_hint(("What is the sum?",), "Two digits.") == (f"What is the sum?\n{HINT_MARKER} Two digits.",)


def test_without_a_hint_the_question_is_unchanged() -> None:
    assert with_hint(("What is the sum?",), None) == ("What is the sum?",)
