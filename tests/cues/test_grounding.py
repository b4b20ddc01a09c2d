"""Grounding: cues compared with the dataset's knowledge of its images."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cues.examples import LEFT_COLUMN, RED_AND_BLUE, example
from vicur.cues.grounding import is_grounded
from vicur.data.schema import Example


def test_the_datasets_own_cues_are_grounded(scenes: dict[str, list[Example]]) -> None:
    for scene_example in scenes["distill"]:
        assert scene_example.cue is not None
        assert is_grounded(scene_example.cue, scene_example) is True


def test_the_cue_of_another_scene_is_seldom_grounded(scenes: dict[str, list[Example]]) -> None:
    examples = scenes["distill"]
    others = [(a, b) for a, b in zip(examples, examples[3:], strict=False) if a.cue != b.cue]
    assert not any(is_grounded(str(b.cue), a) for a, b in others if a.question == b.question)


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(0, 9))
def test_a_single_wrong_value_makes_a_cue_ungrounded(first: int, second: int) -> None:
    cue = f"The left column holds {first} and {second}."
    assert is_grounded(cue, example(evidence=LEFT_COLUMN)) == ((first, second) == (7, 5))


@pytest.mark.parametrize(
    "cue",
    [
        "The red digit is 7.",
        "The blue digit is 7 and the red digit is 5.",
        "There are two digits.",
        "The red digit is 7 and the blue digit is 5. The red digit is 6.",
        "",
    ],
)
def test_missing_swapped_or_contradicted_evidence_is_not_grounded(cue: str) -> None:
    assert is_grounded(cue, example(evidence=RED_AND_BLUE)) is False


def test_a_false_statement_about_another_part_of_the_scene_counts() -> None:
    scene = {"digits": [[7, 1, 2], [5, 3, 4]], "colours": [["red", "green", "blue"], ["yellow", "purple", "orange"]]}
    scene_example = example(evidence=LEFT_COLUMN, scene=scene)
    assert is_grounded("The left column holds 7 and 5. The top row holds 7, 1 and 2.", scene_example) is True
    assert is_grounded("The left column holds 7 and 5. The top row holds 7, 1 and 9.", scene_example) is False


def test_without_truth_the_result_is_none() -> None:
    assert is_grounded("The left column holds 7 and 5.", example()) is None
