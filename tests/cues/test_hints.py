"""Hints: what each privilege tells the teacher, and how the prompt says it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vicur.cues.hints import HINT_MARKER, Privilege, hint_for, with_hint

REFERENCE = "The left column holds 7 and 5. 7 plus 5 is 12. Answer: 12"


def example(**changes: Any) -> Any:
    fields = {"answer": "12", "rationale": "7 plus 5 is 12.", "cue": "annotated", "metadata": {"reference": REFERENCE}}
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
def test_each_privilege_tells_its_own_text(privilege: Privilege, text: str | None) -> None:
    assert hint_for(privilege, example(), "The left column holds 7 and 5.") == text


@pytest.mark.parametrize("privilege", ["rationale", "cue", "solution"])
def test_an_example_without_the_privilege_has_no_hint(privilege: Privilege) -> None:
    assert hint_for(privilege, example(rationale=None, metadata={}), None) is None


def test_a_blank_cue_is_no_cue() -> None:
    assert hint_for("cue", example(), "  \n") is None


def test_the_extracted_cue_counts_and_not_the_annotated_one() -> None:
    assert hint_for("cue", example(cue="annotated"), "extracted") == "extracted"


def test_the_hint_stands_below_the_question_behind_its_marker() -> None:
    assert with_hint("What is the sum?", "Two digits.") == f"What is the sum?\n{HINT_MARKER} Two digits."


def test_without_a_hint_the_question_is_left_as_it_is() -> None:
    assert with_hint("What is the sum?", None) == "What is the sum?"
