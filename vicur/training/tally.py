"""What is counted in a step: sums and means, which several processes add up to those of the whole batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Sums, and means as sums with their weights, by name."""

    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    weights: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, name: str, value: float) -> None:
        """Adds to the sum ``name``."""
        self.sums[name] += value

    def average(self, name: str, total: float, weight: float) -> None:
        """Adds ``total`` to the mean ``name``, of as many things as ``weight`` says. A mean of nothing is left out."""
        if weight:
            self.sums[name] += total
            self.weights[name] += weight

    def join(self, others: Iterable[Tally]) -> None:
        """Adds what others have counted."""
        for other in others:
            for name, value in other.sums.items():
                self.sums[name] += value
            for name, weight in other.weights.items():
                self.weights[name] += weight

    def metrics(self) -> dict[str, float]:
        """Sums and means by name."""
        return {name: value / self.weights.get(name, 1.0) for name, value in self.sums.items()}
