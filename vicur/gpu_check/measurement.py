"""Figures of a measured step: tokens per second, MFU, memory and its plan, and speeds for the times of plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vicur.gpu_check.machine import Machine
from vicur.planning.calibration import Calibration

# The plan of a phase may be below what is measured by this share of the latter: what it leaves free is more.
_ABOVE_PLAN = 0.10


@dataclass(frozen=True)
class Measurement:
    """A measured step of one process."""

    shape: str
    processes: int
    seconds: Mapping[str, float]  # by phase
    step: float  # seconds
    tokens_per_second: float  # response tokens of one device
    mfu: float  # model operations over the peak of the device, for the whole step
    utilisation: float  # the same for the update alone, with what gradient checkpointing computes again
    decode_step_ms: float
    peaks: Mapping[str, int]  # bytes by phase
    planned: Mapping[str, int]

    @classmethod
    def of(cls, values: Mapping[str, Any], machine: Machine) -> Measurement:
        """Interpret the record of :func:`~vicur.gpu_check.measuring.measure`."""
        work, seconds, peak = values["operations"], values["seconds"], machine.peak_tflops * 1e12
        return cls(
            shape=values["shape"],
            processes=values["processes"],
            seconds=seconds,
            step=values["step"],
            tokens_per_second=values["tokens_per_second"],
            mfu=sum(work.values()) / values["step"] / peak,
            utilisation=values["update_operations"] / seconds["update"] / peak,
            decode_step_ms=values["decode_step_ms"],
            peaks=values["peaks"],
            planned=values["planned"],
        )

    @property
    def memory_ratio(self) -> float:
        """Largest measured peak over the largest planned one."""
        return max(self.peaks[phase] for phase in self.planned) / max(self.planned.values())


def judged(measurement: Measurement) -> tuple[Any, str]:
    """Return the status of a measurement and its detail: its memory must stay within its plan and what that leaves free."""
    ratio = measurement.memory_ratio
    gib = max(measurement.peaks[phase] for phase in measurement.planned) / 2**30
    planned = max(measurement.planned.values()) / 2**30
    detail = (
        f"{measurement.step:.3g} s a step, {measurement.tokens_per_second:,.0f} tokens/s a device, MFU {measurement.mfu:.1%}, "
        f"peak {gib:.3g} GiB"
    )
    # Of the tiny model, libraries and threads weigh as much as tensors, so that memory says nothing.
    comparable = measurement.shape != "tiny"
    detail += (
        f" ({planned:.3g} planned, bar +{_ABOVE_PLAN:.0%})" if comparable else "; memory is not compared with the plan"
    )
    return ("failed" if comparable and ratio > 1 + _ABOVE_PLAN else "passed"), detail


def calibration_of(measurements: Sequence[Measurement], machine: Machine) -> dict[str, Any] | None:
    """Return the speeds of the largest measured model as :class:`~vicur.planning.calibration.Calibration` has them."""
    if not measurements:
        return None
    largest = max(measurements, key=lambda each: max(each.peaks.values()))
    calibration = Calibration(
        device=machine.name,
        peak_tflops=machine.peak_tflops,
        utilisation=min(1.0, max(1e-6, largest.utilisation)),
        decode_overhead_ms=largest.decode_step_ms,
    )
    return calibration.model_dump()
