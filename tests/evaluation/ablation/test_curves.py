"""Training curves over several seeds."""

from __future__ import annotations

import pytest

from vicur.evaluation.ablation.curves import curve


def test_a_curve_is_the_mean_over_seeds_at_their_common_steps() -> None:
    one = [{"step": 0.0, "x": 1.0}, {"step": 5.0, "x": 2.0}, {"step": 10.0, "x": 3.0}]
    other = [{"step": 0.0, "x": 3.0}, {"step": 5.0, "y": 0.0}, {"step": 10.0, "x": 5.0}]
    found = curve("arm", {0: one, 1: other}, "x")
    assert found is not None
    assert (found.steps, found.mean) == ((0.0, 10.0), (2.0, 4.0))
    assert found.std == pytest.approx((2**0.5, 2**0.5))


def test_smoothing_does_not_shift_a_curve() -> None:
    line = [{"step": float(n), "x": float(n)} for n in range(101)]
    found = curve("arm", {0: line}, "x")
    assert found is not None
    assert found.mean[50] == pytest.approx(50)
    assert set(found.std) == {0.0}


def test_rare_events_are_summed() -> None:
    history = [{"step": float(n), "x": float(n in (2, 5))} for n in range(50)]
    found = curve("arm", {0: history}, "x", summed=True)
    assert found is not None
    assert (found.mean[1], found.mean[2], found.mean[4], found.mean[49]) == (0, 1, 1, 2)


def test_a_metric_without_values_has_no_curve() -> None:
    assert curve("arm", {0: [{"step": 0.0}]}, "x") is None
    assert curve("arm", {}, "x") is None
