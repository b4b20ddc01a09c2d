"""Memory of the decision over all examples, which is what limits an import of many of them."""

import pytest

from benchmarks.decision import measured

_SIZES = 20_000, 100_000


@pytest.mark.parametrize("near", [0.02, 0.95], ids=["few images alike", "nearly all images alike"])
def test_the_decision_takes_less_than_a_kilobyte_for_each_further_row(near: float) -> None:
    # It takes 400 bytes, or 800 if nearly every row has a finding. More than a kilobyte would miss the bar of 1 GB for a million rows.
    few, many = (measured(rows, near=near)["peak, MB"] for rows in _SIZES)
    assert (many - few) * 1e6 / (_SIZES[1] - _SIZES[0]) < 1000
