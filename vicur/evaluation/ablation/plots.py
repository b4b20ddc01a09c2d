"""The plots of an ablation: accuracy by arm, and how the trainings went."""

from __future__ import annotations

from dataclasses import dataclass

from vicur.evaluation.ablation.curves import curve
from vicur.evaluation.ablation.gather import Gathered, GatheredArm
from vicur.evaluation.ablation.plot import COLOURS, DotRow, LinePanel, dot_plot, line_plot
from vicur.evaluation.ablation.results import AblationResults

_QUARTERS = ("1st quarter", "2nd quarter", "3rd quarter", "4th quarter")


@dataclass(frozen=True)
class Plot:
    """A plot of the page.

    Attributes:
        file: its name.
        title: its heading.
        svg: its content.
    """

    file: str
    title: str
    svg: str


def plots_of(gathered: Gathered, results: AblationResults) -> list[Plot]:
    """The plots that there are figures for."""
    seeds = f"{len(results.seeds)} seed{'s' if len(results.seeds) > 1 else ''}"
    made = [
        _accuracy(results, seeds),
        _dynamics(gathered, "validation.svg", "Validation accuracy", "validation_accuracy", seeds, percent=True),
        _dynamics(gathered, "rollouts.svg", "Accuracy of rollouts", "rollout_accuracy", seeds, percent=True),
        _dynamics(gathered, "gap.svg", "Log-prob gap, teacher minus student, nats a token", "gap/whole", seeds),
        _quarters(gathered, seeds),
        _dynamics(
            gathered, "leakage.svg", "Rollouts with the word “Hint” so far", "leakage/samples", seeds, summed=True
        ),
    ]
    return [plot for plot in made if plot is not None]


def _accuracy(results: AblationResults, seeds: str) -> Plot:
    panels = []
    for split, title in (("test", "Test"), ("ood", "Out of domain")):
        if split in results.base:
            rows = [
                DotRow(name, tuple(arm.accuracy[split].by_seed), arm.accuracy[split].mean)
                for name, arm in results.arms.items()
            ]
            panels.append((title, rows, results.base[split]))
    note = f"A dot a seed ({seeds}), the mean as a tick; the dashed line is the base."
    return Plot("accuracy.svg", "Accuracy by arm", dot_plot(panels, note=note))


def _trained(gathered: Gathered) -> list[tuple[GatheredArm, int, int]]:
    """The arms that were trained, each with its colour and dashes."""
    arms = [arm for arm in gathered.arms.values() if arm.histories]
    return [(arm, n % len(COLOURS), n // len(COLOURS)) for n, arm in enumerate(arms)]


def _dynamics(
    gathered: Gathered, file: str, title: str, key: str, seeds: str, *, percent: bool = False, summed: bool = False
) -> Plot | None:
    curves = [
        (found, colour, dash)
        for arm, colour, dash in _trained(gathered)
        if (found := curve(arm.arm.name, arm.histories, key, summed=summed)) is not None
    ]
    if not curves:
        return None
    legend = [(found.name, colour, dash) for found, colour, dash in curves]
    # The spread of a few counts would reach below none.
    panel = LinePanel(title, curves, percent=percent, include=() if percent else (0.0,), band=not summed)
    note = f"Mean over {seeds}{'' if summed else ', with one standard deviation to either side'}."
    return Plot(file, title, line_plot([panel], columns=1, legend=legend, note=note))


def _quarters(gathered: Gathered, seeds: str) -> Plot | None:
    panels = []
    for arm, _, _ in _trained(gathered):
        found = [curve(name, arm.histories, f"gap/quarter_{n}") for n, name in enumerate(_QUARTERS, 1)]
        curves = [(one, n, 0) for n, one in enumerate(found) if one is not None]
        if curves:
            panels.append(LinePanel(arm.arm.name, curves, include=(0.0,), band=False))
    if not panels:
        return None
    legend = [(name, n, 0) for n, name in enumerate(_QUARTERS)]
    title = "Log-prob gap by quarter of the response, nats a token"
    return Plot("gap-quarters.svg", title, line_plot(panels, columns=3, legend=legend, note=f"Mean over {seeds}."))
