"""Planned peaks agree with those of real trainings, measured as resident memory of their own processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.plan_memory import PLACEMENTS, case_of, measure_apart, rows_of
from vicur.gpu_check.models import save_random


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["one process", "FSDP2, 2 processes"])
def test_the_planned_peak_is_within_a_tenth_of_the_measured_one(placement: str, tmp_path: Path) -> None:
    save_random(tmp_path, "wide", "cpu", torch.float32, 1024)
    processes, training = PLACEMENTS[placement]
    *_, peak = rows_of(placement, measure_apart(case_of(tmp_path, "wide", processes, training)))
    assert peak["phase"] == "peak"
    assert peak["ratio"] == pytest.approx(1, abs=0.1)
