"""Solution words in a cue."""

from __future__ import annotations

from tests.cues.test_leaks import PAPERS_CUE
from vicur.cues.reasoning import reasoning_words
from vicur.data.schema import Example

PAPERS_REASONING_HINT = "The problem is solved by applying the Intersecting Chords Theorem, which equates the products."


def test_only_the_papers_reasoning_hint_contains_solution_words() -> None:
    assert reasoning_words(PAPERS_CUE) == ()
    assert reasoning_words(PAPERS_REASONING_HINT) == ("solved", "applying", "theorem", "equates")


def test_only_the_rationales_of_digit_scenes_contain_solution_words(scenes: dict[str, list[Example]]) -> None:
    for posed in scenes["distill"]:
        assert reasoning_words(str(posed.cue)) == ()
        if posed.kind in ("column_sum", "column_difference", "colour_sum"):
            assert reasoning_words(str(posed.rationale))


def test_parts_of_words_and_visible_things_do_not_count() -> None:
    assert reasoning_words("A product on the shelf, a divided road, the times on a clock, surplus goods.") == ()


def test_each_word_is_listed_once() -> None:
    assert reasoning_words("Plus this plus that, hence SUM.") == ("plus", "hence", "sum")
