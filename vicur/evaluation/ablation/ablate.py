"""The ablation stage: compute results, plots and the page from the evaluations of all arms and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from vicur.config.ablation import Analysis
from vicur.evaluation.ablation.page import PLOTS, page_of
from vicur.evaluation.ablation.plots import plots_of
from vicur.evaluation.ablation.results import results_of
from vicur.evaluation.ablation.runs import load_runs
from vicur.evaluation.ablation.verdicts import sentence
from vicur.evaluation.statistics import Difference
from vicur.stage.runner import Context, Stage, Summary

RESULTS = "ablation.json"
PAGE = "results.md"
_COMMAND = "vicur ablate"


class ArmSummary(BaseModel):
    """Accuracy of one arm: mean and standard deviation over the seeds by split, and the difference to the base on test."""

    mean: dict[str, float]
    std: dict[str, float]
    difference: Difference


class AblateSummary(Summary):
    """Accuracy of the base by split, the arms by name, and the result of each contrast as a sentence."""

    base: dict[str, float]
    arms: dict[str, ArmSummary]
    # The field keeps its first name: stored summaries and summary.json have it.
    held: list[str]


def ablate(config: Analysis, inputs: Mapping[str, Path], output: Path, context: Context) -> AblateSummary:
    """Analyse the evaluations of an ablation.

    Args:
        inputs: ``base`` (its evaluation), and for each arm and seed ``<arm>.<seed>`` (an evaluation) and, for arms that
            train students, ``<arm>.<seed>.student``.
        output: folder for ``ablation.json``, ``results.md`` and the plots in ``results/``.

    Raises:
        VicurError: if an evaluation is missing, or cannot be compared with that of the base.
    """
    runs = load_runs(config.arms, inputs)
    results = results_of(runs, config, context.seed)
    plots = plots_of(runs, results)
    (output / PLOTS).mkdir()
    for plot in plots:
        (output / PLOTS / plot.file).write_text(plot.svg, encoding="utf-8")
    (output / RESULTS).write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (output / PAGE).write_text(page_of(results, plots, _COMMAND), encoding="utf-8")
    context.tracker.artifact(output / PAGE)
    expected = [result.outcome for result in results.contrasts if result.contrast.expected is not None]
    return AblateSummary(
        key_figure=f"{len(results.arms)} arms, {len(results.seeds)} seeds: {expected.count('held')} of {len(expected)} expectations held",
        metrics={
            f"{name}/{split}/{metric}": value
            for name, arm in results.arms.items()
            for split in results.base
            for metric, value in (
                ("accuracy", arm.accuracy[split].mean),
                ("accuracy_std", arm.accuracy[split].std),
                ("difference", arm.difference[split].mean),
            )
        },
        base=results.base,
        arms={
            name: ArmSummary(
                mean={split: statistics.mean for split, statistics in arm.accuracy.items()},
                std={split: statistics.std for split, statistics in arm.accuracy.items()},
                difference=arm.difference["test"],
            )
            for name, arm in results.arms.items()
        },
        held=[sentence(result, results) for result in results.contrasts],
    )


ABLATE = Stage("ablate", ablate, AblateSummary)
