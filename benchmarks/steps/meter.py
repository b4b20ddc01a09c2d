"""Time and peak memory of the phases of a step."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from vicur.processes.resident_memory import peak_resident_bytes, reset_peak, resident_bytes


@dataclass
class _Step:
    loaded: float  # MB of interpreter, weights, gradients and optimizer state
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    peaks: dict[str, float] = field(default_factory=lambda: defaultdict(float))


class Meter:
    """Records CPU time and peak memory (resident set) by phase of each step.

    CPU time of the one thread depends little on other load on the machine.
    """

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._last = 0.0
        self._parameters: list[nn.Parameter] = []

    def trains(self, parameters: Iterable[nn.Parameter]) -> None:
        """Count the gradients of these parameters as loaded, as the weights are."""
        self._parameters = [each for each in parameters if each.requires_grad]

    def begin(self) -> None:
        missing = sum(each.nbytes for each in self._parameters if each.grad is None)
        self._steps.append(_Step((resident_bytes() + missing) / 1e6))
        self._mark()

    def end(self, phase: str) -> None:
        """Count the time since the last call for ``phase``, which may have several parts."""
        step = self._steps[-1]
        step.seconds[phase] += time.process_time() - self._last
        step.peaks[phase] = max(step.peaks[phase], peak_resident_bytes() / 1e6)
        self._mark()

    def _mark(self) -> None:
        reset_peak()
        self._last = time.process_time()

    def write(self, path: Path, warm_up: int) -> None:
        """Write median seconds, largest peak and largest extra of each phase and of the total, without the first ``warm_up`` steps.

        ``extra_mb`` is the peak above what is loaded at the beginning of a step, after a first one has made the optimizer's state.
        """
        steps = self._steps[warm_up:]
        results = {phase: _figures([(step, [phase]) for step in steps]) for phase in steps[0].seconds}
        results["total"] = _figures([(step, list(step.seconds)) for step in steps])
        path.write_text(json.dumps(results), encoding="utf-8")


def _figures(steps: list[tuple[_Step, list[str]]]) -> dict[str, float]:
    peaks = [(step, max(step.peaks[phase] for phase in phases)) for step, phases in steps]
    return {
        "seconds": statistics.median(sum(step.seconds[phase] for phase in phases) for step, phases in steps),
        "peak_mb": max(peak for _, peak in peaks),
        "extra_mb": max(peak - step.loaded for step, peak in peaks),
    }
