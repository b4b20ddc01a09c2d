"""Training curves of an arm: the mean over its seeds, and how far they stray."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from vicur.evaluation.report.curves import History

_SMOOTH_SHARE = 1 / 10
# So few points are drawn as they are: validations, not steps.
_FEW = 40


@dataclass(frozen=True)
class Curve:
    """A figure over the steps of a training.

    Attributes:
        name: what it is called.
        steps: the steps that every seed has the figure of.
        mean: over the seeds, a running mean where there are many steps.
        std: standard deviation over the seeds, likewise; zero for one seed.
    """

    name: str
    steps: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def curve(name: str, histories: Mapping[int, History], key: str, *, summed: bool = False) -> Curve | None:
    """The curve of a figure over the seeds of an arm, or ``None`` where not every seed has it.

    Args:
        name: what it is called.
        histories: the records of each seed, steps ascending.
        key: the figure.
        summed: whether each step shows the sum so far, as it is: rare events have no running mean worth a look.
    """
    found = [_values(history, key, summed=summed) for history in histories.values()]
    steps = sorted(set.intersection(*(set(values) for values in found))) if found else []
    if not steps:
        return None
    rows = [[values[step] for values in found] for step in steps]
    mean = [statistics.fmean(row) for row in rows]
    std = [statistics.stdev(row) if len(row) > 1 else 0.0 for row in rows]
    smooth = list if summed else _smooth
    return Curve(name, tuple(steps), tuple(smooth(mean)), tuple(smooth(std)))


def _values(history: History, key: str, *, summed: bool) -> dict[float, float]:
    """A figure by step."""
    held = {record["step"]: record[key] for record in history if key in record}
    return dict(zip(held, accumulate(held.values()), strict=True)) if summed else held


def _smooth(values: Sequence[float]) -> list[float]:
    """Mean of the values around each, over a tenth of the curve."""
    reach = round(len(values) * _SMOOTH_SHARE / 2) if len(values) > _FEW else 0
    windows = (values[max(0, n - reach) : n + reach + 1] for n in range(len(values)))
    return [statistics.fmean(window) for window in windows]
