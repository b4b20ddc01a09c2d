"""The plots of an ablation: accuracy by arm, and training curves."""

from __future__ import annotations

from dataclasses import dataclass

from vicur.evaluation.ablation.curves import curve
from vicur.evaluation.ablation.page import split_title, splits_of
from vicur.evaluation.ablation.plot import DotRow, Line, LinePanel, dot_plot, line_plot
from vicur.evaluation.ablation.results import AblationResults
from vicur.evaluation.ablation.runs import AblationRuns, ArmRuns

_QUARTERS = ("1st quarter", "2nd quarter", "3rd quarter", "4th quarter")
_GAP = "log-prob gap, nats per token"


@dataclass(frozen=True)
class Plot:
    """A plot of the page: its file name, its title, and the SVG."""

    file: str
    title: str
    svg: str


def plots_of(runs: AblationRuns, results: AblationResults) -> list[Plot]:
    """Draw the plots for which there are metrics."""
    seeds = f"{len(results.seeds)} seed{'s' if len(results.seeds) > 1 else ''}"
    plots = [
        _accuracy(results, seeds),
        _curves(
            runs, "validation.svg", "Validation accuracy", "validation_accuracy", "accuracy, %", seeds, percent=True
        ),
        _curves(runs, "rollouts.svg", "Rollout accuracy", "rollout_accuracy", "accuracy, %", seeds, percent=True),
        _curves(runs, "gap.svg", "Log-prob gap: teacher minus student", "gap/whole", _GAP, seeds),
        _quarters(runs, seeds),
        _curves(
            runs,
            "leakage.svg",
            "Rollouts with the word “Hint”, cumulative",
            "leakage/samples",
            "rollouts so far",
            seeds,
            summed=True,
        ),
    ]
    return [plot for plot in plots if plot is not None]


def _accuracy(results: AblationResults, seeds: str) -> Plot:
    panels = []
    for split in splits_of(results):
        rows = [
            DotRow(name, tuple(arm.accuracy[split].by_seed), arm.accuracy[split].mean)
            for name, arm in results.arms.items()
        ]
        panels.append((split_title(split), rows, results.base[split]))
    note = f"One dot per seed ({seeds}); the tick is their mean, the dashed line the base."
    return Plot("accuracy.svg", "Accuracy by arm", dot_plot(panels, note=note))


def _trained(runs: AblationRuns) -> list[tuple[ArmRuns, int]]:
    """Return the arms that were trained, each with its style, which is the same in all plots."""
    return [(arm, n) for n, arm in enumerate(arm for arm in runs.arms.values() if arm.histories)]


def _curves(
    runs: AblationRuns,
    file: str,
    title: str,
    key: str,
    y_label: str,
    seeds: str,
    *,
    percent: bool = False,
    summed: bool = False,
) -> Plot | None:
    lines = [
        Line(of_arm, style)
        for arm, style in _trained(runs)
        if (of_arm := curve(arm.arm.name, arm.histories, key, summed=summed)) is not None
    ]
    if not lines:
        return None
    # With counts this small, one standard deviation would reach below zero.
    panel = LinePanel(title, lines, band=not summed)
    note = f"Mean over {seeds}{'' if summed else ', with a band of one standard deviation to either side'}."
    svg = line_plot([panel], columns=1, y_label=y_label, percent=percent, zero=not percent, note=note)
    return Plot(file, title, svg)


def _quarters(runs: AblationRuns, seeds: str) -> Plot | None:
    panels = []
    for arm, _ in _trained(runs):
        of_arm = [curve(name, arm.histories, f"gap/quarter_{n}") for n, name in enumerate(_QUARTERS, 1)]
        lines = [Line(quarter, n) for n, quarter in enumerate(of_arm) if quarter is not None]
        if lines:
            panels.append(LinePanel(arm.arm.name, lines, band=False))
    if not panels:
        return None
    title = "Log-prob gap by quarter of the response"
    svg = line_plot(panels, columns=3, y_label=_GAP, zero=True, note=f"Mean over {seeds}.")
    return Plot("gap-quarters.svg", title, svg)
