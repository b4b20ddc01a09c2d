"""Time and peak memory of the phases of a step."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Meter:
    """Records CPU time and peak memory (resident set) by phase of each step.

    CPU time of the one thread depends little on other load on the machine.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[dict[str, float], dict[str, float]]] = []
        self._last = 0.0

    def begin(self) -> None:
        self._steps.append((defaultdict(float), defaultdict(float)))
        self._mark()

    def end(self, phase: str) -> None:
        """Count the time since the last call for ``phase``, which may have several parts."""
        seconds, peaks = self._steps[-1]
        seconds[phase] += time.process_time() - self._last
        peaks[phase] = max(peaks[phase], _peak_mb())
        self._mark()

    def _mark(self) -> None:
        # Linux resets the peak of the resident set when 5 is written here.
        _RESET.write_text("5")
        self._last = time.process_time()

    def write(self, path: Path, warm_up: int) -> None:
        """Write median seconds and largest peak of each phase and of the total, without the first ``warm_up`` steps."""
        steps = self._steps[warm_up:]
        results = {
            phase: {
                "seconds": statistics.median(seconds[phase] for seconds, _ in steps),
                "peak_mb": max(peaks[phase] for _, peaks in steps),
            }
            for phase in steps[0][0]
        }
        results["total"] = {
            "seconds": statistics.median(sum(seconds.values()) for seconds, _ in steps),
            "peak_mb": max(max(peaks.values()) for _, peaks in steps),
        }
        path.write_text(json.dumps(results), encoding="utf-8")


def _peak_mb() -> float:
    (line,) = (line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6
