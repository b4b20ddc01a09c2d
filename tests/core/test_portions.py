"""Items of a stage's input are divided into contiguous ranges."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicur.stage.portions import Automatic, divided

AUTOMATIC = Automatic(rows=10, most=4)


@pytest.mark.parametrize(
    ("rows", "count", "ends"),
    [
        ([5, 5, 5, 5], 2, [2, 4]),
        ([5, 5, 0], 2, [1, 3]),  # an empty file at the end is no range of its own
        ([10, 0], 1, [2]),
        ([0, 0, 0], 2, [3]),
        ([], 2, [0]),
        ([100] * 10, 0, [3, 6, 9, 10]),
    ],
)
def test_ranges_are_filled_from_the_start(rows: list[int], count: int, ends: list[int]) -> None:
    assert [each.end for each in divided(rows, count, AUTOMATIC)] == ends


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(0, 8))
def test_ranges_cover_all_items_and_are_no_more_than_asked_for(rows: list[int], count: int) -> None:
    ranges = divided(rows, count, AUTOMATIC)
    assert len(ranges) <= (count or AUTOMATIC.most)
    assert ranges[0].first == 0
    assert ranges[-1].end == len(rows)
    assert all(one.end == other.first for one, other in itertools.pairwise(ranges))
    assert [each.last for each in ranges] == [False] * (len(ranges) - 1) + [True]
