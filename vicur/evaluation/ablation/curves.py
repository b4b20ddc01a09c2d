"""Training curves of an arm: mean and standard deviation over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from vicur.evaluation.report.curves import History

_SMOOTH_SHARE = 1 / 10
# Curves with at most this many points (validations rather than steps) are not smoothed.
_FEW = 40


@dataclass(frozen=True)
class Curve:
    """Mean and standard deviation of a metric over the seeds, at the steps that all seeds have; smoothed if there are many."""

    name: str
    steps: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def curve(name: str, histories: Mapping[int, History], key: str, *, summed: bool = False) -> Curve | None:
    """Return the curve of metric ``key`` over the seeds of an arm, or ``None`` if a seed lacks the metric.

    ``summed`` shows the cumulative sum instead of a smoothed curve.
    """
    by_seed = [_values(history, key, summed=summed) for history in histories.values()]
    # Seeds may have been validated at different steps, for example if a run was extended.
    steps = sorted(set.intersection(*(set(values) for values in by_seed))) if by_seed else []
    if not steps:
        return None
    rows = [[values[step] for values in by_seed] for step in steps]
    mean = [statistics.fmean(row) for row in rows]
    std = [statistics.stdev(row) if len(row) > 1 else 0.0 for row in rows]
    # Sums are for rare events, whose running mean would be close to zero everywhere.
    smooth = list if summed else _smooth
    return Curve(name, tuple(steps), tuple(smooth(mean)), tuple(smooth(std)))


def _values(history: History, key: str, *, summed: bool) -> dict[float, float]:
    values = {record["step"]: record[key] for record in history if key in record}
    return dict(zip(values, accumulate(values.values()), strict=True)) if summed else values


def _smooth(values: Sequence[float]) -> list[float]:
    """Average each value with its neighbours, over a window of a tenth of the curve."""
    reach = round(len(values) * _SMOOTH_SHARE / 2) if len(values) > _FEW else 0
    # At both ends the window is cut off instead of padded.
    windows = (values[max(0, n - reach) : n + reach + 1] for n in range(len(values)))
    return [statistics.fmean(window) for window in windows]
