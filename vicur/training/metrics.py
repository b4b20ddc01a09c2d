"""Metric accumulators that can be merged across ranks, and the timer of a step's phases."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

IN_EVERY_RECORD = ("loss", "validation_accuracy")
"""Each training record has one of these: a step the first, the validation before step 1 the second."""


@dataclass
class Metrics:
    """Accumulators by name. A mean is a sum with a weight, so that merging the means of unequal parts is exact."""

    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    weights: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    maxima: dict[str, float] = field(default_factory=dict)

    def add_sum(self, name: str, value: float) -> None:
        """Add ``value`` to a sum."""
        self.sums[name] += value

    def add_mean(self, name: str, total: float, weight: float) -> None:
        """Add to a mean the sum ``total`` of ``weight`` values. A mean without values does not appear in the result."""
        if weight:
            self.sums[name] += total
            self.weights[name] += weight

    def add_max(self, name: str, value: float) -> None:
        """Add ``value`` to a maximum."""
        self.maxima[name] = max(value, self.maxima.get(name, value))

    def merge(self, others: Iterable[Metrics]) -> None:
        """Add the values of other accumulators."""
        for other in others:
            for name, value in other.sums.items():
                self.sums[name] += value
            for name, weight in other.weights.items():
                self.weights[name] += weight
            for name, value in other.maxima.items():
                self.add_max(name, value)

    def compute(self) -> dict[str, float]:
        """Return sums, means and maxima by name."""
        return {name: value / self.weights.get(name, 1.0) for name, value in self.sums.items()} | self.maxima


@dataclass
class PhaseTimer:
    """Seconds spent in each phase of a step."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def end(self, name: str) -> None:
        """Add the time since the last call to phase ``name``."""
        now = time.perf_counter()
        self.seconds[f"seconds/{name}"] = self.seconds.get(f"seconds/{name}", 0.0) + now - self._last
        self._last = now
