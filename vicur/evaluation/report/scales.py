"""Geometry of the charts: round ticks, positions in percent, and SVG paths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear axis from ``low`` to ``high``, with round ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Return the position of ``value`` in percent of the axis, clipped to its ends."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)


def round_scale(values: Sequence[float], *, ticks: int = 4, include: Sequence[float] = ()) -> Scale:
    """Return a scale that covers all values, with ends and about ``ticks`` ticks at round numbers."""
    covered = [*values, *include] or [0.0, 1.0]
    low, high = min(covered), max(covered)
    # A constant has no extent: widen the scale around it, or upwards if the constant is zero.
    if high - low < 1e-9:
        low, high = (low - 0.5, high + 0.5) if low else (0.0, 1.0)
    step = _round_step((high - low) / max(1, ticks - 1))
    # The tolerance keeps rounding errors from adding a tick beyond a value that lies on one.
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step)) + 1)
    # Adding 0.0 turns a negative zero into zero.
    marks = tuple(round(n * step, digits) + 0.0 for n in range(first, last + 1))
    return Scale(marks[0], marks[-1], marks)


def _round_step(step: float) -> float:
    """Return the smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is at least ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def path(points: Sequence[tuple[float, float | None]]) -> str:
    """Return an SVG path through points in percent, y upwards. A point without y interrupts the line."""
    parts = []
    pen_down = False
    for x, y in points:
        if y is None:
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{x:g} {100 - y:g}")
        pen_down = True
    return "".join(parts)
