"""The comparison stage: students against their base, the better one of them, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from vicur.config.comparison import ComparisonConfig
from vicur.config.evaluation import REPORT_SPLIT
from vicur.errors import VicurError
from vicur.evaluation.comparison import COMPARISON, Comparison, Evaluation, compare_models
from vicur.evaluation.report import ReportInputs, write_report
from vicur.evaluation.statistics import Difference, paired_difference
from vicur.evaluation.verdicts import Verdict, percent, points, verdicts
from vicur.stage.runner import Context, Stage, Summary

REPORT = "report.html"
_STUDENT = ".student"
_NOT_STUDENTS = ("dataset", "base", "cues")


class CompareSummary(Summary):
    """What the comparison found."""

    chosen: str
    """The better student by validation."""
    base: dict[str, float]
    """Accuracy of the base by split."""
    students: dict[str, dict[str, float]]
    """Accuracy by method and split."""
    differences: dict[str, dict[str, Difference]]
    """Difference to the base by method and split."""
    verdicts: list[str]
    """What it comes to, in sentences; the first is about the chosen student on the test questions."""


class ComparisonFile(Comparison):
    """Content of ``comparison.json``."""

    verdicts: list[Verdict]


def compare(config: ComparisonConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> CompareSummary:
    """Compares one or more students with their base.

    Args:
        config: settings of the bootstrap and of the report.
        inputs: ``dataset``, ``cues``, ``base`` (its evaluation), and for each student ``<method>`` (its evaluation)
            and ``<method>.student`` (its folder, for the training curves).
        output: folder for ``comparison.json`` and ``report.html``.
        context: run, seed and tracker.

    Raises:
        VicurError: where there is no student, or evaluations that cannot be compared.
    """
    methods = [name for name in inputs if name not in _NOT_STUDENTS and not name.endswith(_STUDENT)]
    if not methods:
        raise VicurError(
            "there is no student to compare.", where="compare", remedy="Train and evaluate a method first."
        )
    base = Evaluation.load(inputs["base"])
    students = {method: Evaluation.load(inputs[method]) for method in methods}
    bootstrap = partial(paired_difference, seed=context.seed, resamples=config.resamples, confidence=config.confidence)
    comparison = compare_models(
        base,
        students,
        bootstrap,
        confidence=config.confidence,
        resamples=config.resamples,
        seed=context.seed,
    )
    said = verdicts(comparison)
    record = ComparisonFile(**dict(comparison), verdicts=said)
    (output / COMPARISON).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    report = ReportInputs(
        comparison=comparison,
        verdicts=said,
        base=base,
        students=students,
        evaluations={method: inputs[method] for method in methods},
        folders={m: inputs[f"{m}{_STUDENT}"] for m in methods if f"{m}{_STUDENT}" in inputs},
        dataset=inputs["dataset"],
        cues=inputs["cues"],
    )
    write_report(report, config, output / REPORT)
    context.tracker.artifact(output / REPORT)
    return _summary(comparison, said)


def _summary(comparison: Comparison, said: list[Verdict]) -> CompareSummary:
    chosen = comparison.choice.method
    differences = {
        method: {split: found.difference for split, found in student.splits.items()}
        for method, student in comparison.students.items()
    }
    metrics = {
        f"{method}/{split}/difference{suffix}": value
        for method, splits in differences.items()
        for split, difference in splits.items()
        for suffix, value in (("", difference.mean), ("_low", difference.low), ("_high", difference.high))
    }
    shown = comparison.students[chosen].splits[REPORT_SPLIT]
    sure = f"{points(shown.difference.low)} to {points(shown.difference.high)}"
    return CompareSummary(
        key_figure=f"{chosen} {percent(shown.accuracy)}, {points(shown.difference.mean)} points on base ({sure})",
        metrics=metrics,
        chosen=chosen,
        base=comparison.base_accuracy,
        students={m: {s: found.accuracy for s, found in c.splits.items()} for m, c in comparison.students.items()},
        differences=differences,
        verdicts=[verdict.text for verdict in said],
    )


COMPARE = Stage("compare", compare, CompareSummary)
