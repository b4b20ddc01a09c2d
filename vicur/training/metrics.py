"""What is counted in a step: sums, means and maxima, which several processes put together to those of the whole batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Metrics:
    """Sums, means as sums with their weights, and maxima, by name."""

    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    weights: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    maxima: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Adds to the sum ``name``."""
        self.sums[name] += value

    def average(self, name: str, total: float, weight: float) -> None:
        """Adds ``total`` to the mean ``name``, of as many things as ``weight`` says. A mean of nothing is left out."""
        if weight:
            self.sums[name] += total
            self.weights[name] += weight

    def most(self, name: str, value: float) -> None:
        """Raises the maximum ``name`` to ``value``, where it is lower or not there."""
        self.maxima[name] = max(value, self.maxima.get(name, value))

    def join(self, others: Iterable[Metrics]) -> None:
        """Adds what others have counted."""
        for other in others:
            for name, value in other.sums.items():
                self.sums[name] += value
            for name, weight in other.weights.items():
                self.weights[name] += weight
            for name, value in other.maxima.items():
                self.most(name, value)

    def metrics(self) -> dict[str, float]:
        """Sums, means and maxima by name."""
        return {name: value / self.weights.get(name, 1.0) for name, value in self.sums.items()} | self.maxima
