"""The stage that puts an ablation together: figures, plots and the page of results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from vicur.config.ablation import Analysis
from vicur.evaluation.ablation.gather import gather
from vicur.evaluation.ablation.page import PLOTS, page_of
from vicur.evaluation.ablation.plots import plots_of
from vicur.evaluation.ablation.results import results_of
from vicur.evaluation.ablation.verdicts import sentence
from vicur.evaluation.statistics import Difference
from vicur.stage.runner import Context, Stage, Summary

RESULTS = "ablation.json"
PAGE = "results.md"
_COMMAND = "vicur ablate"


class ArmSummary(BaseModel):
    """One arm: by split, mean and standard deviation over its seeds, and the difference to the base on the test questions."""

    mean: dict[str, float]
    std: dict[str, float]
    difference: Difference


class AblateSummary(Summary):
    """What an ablation came to."""

    base: dict[str, float]
    """Accuracy of the base by split."""
    arms: dict[str, ArmSummary]
    """By name."""
    held: list[str]
    """What each contrast found, in sentences."""


def ablate(config: Analysis, inputs: Mapping[str, Path], output: Path, context: Context) -> AblateSummary:
    """Puts the cells of an ablation together.

    Args:
        config: arms, contrasts and settings of the intervals.
        inputs: ``base`` (its evaluation), and for each arm and seed ``<arm>.<seed>`` (an evaluation) and, for arms that train,
            ``<arm>.<seed>.student``.
        output: folder for ``ablation.json``, ``results.md`` and the plots in ``results/``.
        context: seed and tracker.

    Raises:
        VicurError: where a cell is missing, or cannot be compared with the base.
    """
    gathered = gather(config.arms, inputs)
    results = results_of(gathered, config, context.seed)
    plots = plots_of(gathered, results)
    (output / PLOTS).mkdir()
    for plot in plots:
        (output / PLOTS / plot.file).write_text(plot.svg, encoding="utf-8")
    (output / RESULTS).write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (output / PAGE).write_text(page_of(results, plots, _COMMAND), encoding="utf-8")
    context.tracker.artifact(output / PAGE)
    held = [sentence(result, results) for result in results.contrasts]
    expected = [result.outcome for result in results.contrasts if result.contrast.expected is not None]
    return AblateSummary(
        key_figure=f"{len(results.arms)} arms, {len(results.seeds)} seeds: {expected.count('held')} of {len(expected)} expectations held",
        metrics={
            f"{name}/{split}/{figure}": value
            for name, arm in results.arms.items()
            for split in results.base
            for figure, value in (
                ("accuracy", arm.accuracy[split].mean),
                ("accuracy_std", arm.accuracy[split].std),
                ("difference", arm.difference[split].mean),
            )
        },
        base=results.base,
        arms={
            name: ArmSummary(
                mean={split: spread.mean for split, spread in arm.accuracy.items()},
                std={split: spread.std for split, spread in arm.accuracy.items()},
                difference=arm.difference["test"],
            )
            for name, arm in results.arms.items()
        },
        held=held,
    )


ABLATE = Stage("ablate", ablate, AblateSummary)
