"""Words of a solution in a cue."""

from __future__ import annotations

from tests.cues.test_leaks import PAPERS_CUE
from vicur.cues.reasoning import reasoning_words
from vicur.data.schema import Example

PAPERS_REASONING_HINT = "The problem is solved by applying the Intersecting Chords Theorem, which equates the products."


def test_the_papers_examples_are_told_apart() -> None:
    assert reasoning_words(PAPERS_CUE) == ()
    assert reasoning_words(PAPERS_REASONING_HINT) == ("solved", "applying", "theorem", "equates")


def test_digit_scenes_reason_in_their_steps_only(scenes: dict[str, list[Example]]) -> None:
    for asked in scenes["distill"]:
        assert reasoning_words(str(asked.cue)) == ()
        if asked.kind in ("column_sum", "column_difference", "colour_sum"):
            assert reasoning_words(str(asked.rationale))


def test_a_word_within_a_word_or_a_thing_that_is_seen_is_no_reasoning() -> None:
    assert reasoning_words("A product on the shelf, a divided road, the times on a clock, surplus goods.") == ()


def test_each_word_is_named_once() -> None:
    assert reasoning_words("Plus this plus that, hence SUM.") == ("plus", "hence", "sum")
