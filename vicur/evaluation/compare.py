"""The comparison stage: compare students with their base, choose the best one, and write the report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pydantic import Field

from vicur.config.comparison import ComparisonConfig
from vicur.config.evaluation import REPORT_SPLIT
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.comparing import BenchmarkComparison, compare_benchmarks
from vicur.evaluation.comparison import COMPARISON, Comparison, Evaluation, SplitComparison, compare_models
from vicur.evaluation.report import ReportInputs, write_report
from vicur.evaluation.statistics import Difference, paired_difference
from vicur.evaluation.training_record import training_record
from vicur.evaluation.verdicts import Verdict, verdicts
from vicur.stage.runner import Context, Stage, Summary
from vicur.stage.table import BENCHMARKS
from vicur.wording import estimate, percent

REPORT = "report.html"
CHOSEN, BASE = "chosen", "base"
"""Folders with the evaluations of the chosen student and of the base."""
_STUDENT = ".student"
_NOT_STUDENTS = ("dataset", "base", "cues")


class CompareSummary(Summary):
    """Result of the comparison. Accuracies and differences to the base are by method and split."""

    chosen: str
    """The student with the best validation accuracy."""
    base: dict[str, float]
    students: dict[str, dict[str, float]]
    differences: dict[str, dict[str, Difference]]
    verdicts: list[str]
    """The conclusions as sentences. The first is about the chosen student on the test questions."""


class ComparisonFile(Comparison):
    """Content of ``comparison.json``."""

    verdicts: list[Verdict]
    benchmarks: dict[str, BenchmarkComparison] = Field(default_factory=dict, exclude_if=lambda found: not found)
    """The models on the paper's benchmarks, by name; empty if the run has none."""


def compare(config: ComparisonConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> CompareSummary:
    """Compare one or more students with their base.

    Args:
        inputs: ``dataset``, ``cues``, ``base`` (its evaluation), and for each student ``<method>`` (its evaluation)
            and optionally ``<method>.student`` (its folder, for training curves that the evaluation lacks); with benchmarks,
            ``<model>.benchmarks`` (the scores of a student or of ``base``).
        output: folder for ``comparison.json``, ``report.html`` and the evaluations of base and chosen student.

    Raises:
        VicurError: if no student is among the inputs, or the evaluations cannot be compared.
    """
    methods = [name for name in inputs if name not in _NOT_STUDENTS and not name.endswith((_STUDENT, BENCHMARKS))]
    if not methods:
        raise VicurError(
            "there is no student to compare with the base.",
            where="compare",
            remedy="Train and evaluate a method first, then pass it with --student.",
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
    conclusions = verdicts(comparison)
    benchmarks = compare_benchmarks(inputs, methods, bootstrap)
    record = ComparisonFile(**dict(comparison), verdicts=conclusions, benchmarks=benchmarks)
    (output / COMPARISON).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    report = ReportInputs(
        comparison=comparison,
        verdicts=conclusions,
        base=base,
        students=students,
        evaluations={method: inputs[method] for method in methods},
        # Without the record of a training, the report has no curves of it.
        folders={method: folder for method in methods if (folder := _record(inputs, method)) is not None},
        dataset=inputs["dataset"],
        cues=inputs["cues"],
        benchmarks=benchmarks,
    )
    write_report(report, config, output / REPORT)
    # The registration then needs no other evaluation.
    shutil.copytree(inputs[comparison.choice.method], output / CHOSEN)
    shutil.copytree(inputs["base"], output / BASE)
    context.tracker.artifact(output / REPORT)
    summary = _summary(comparison, conclusions)
    return summary.model_copy(update={"metrics": {**summary.metrics, **_benchmark_metrics(benchmarks)}})


def _record(inputs: Mapping[str, Path], method: str) -> Path | None:
    # Evaluations by earlier releases have no record, but their students can be passed.
    return inputs.get(f"{method}{_STUDENT}") or training_record(inputs[method])


def _summary(comparison: Comparison, conclusions: list[Verdict]) -> CompareSummary:
    chosen = comparison.choice.method
    differences = {
        method: {split: compared.difference for split, compared in student.splits.items()}
        for method, student in comparison.students.items()
    }
    metrics = {
        f"{method}/{split}/difference{suffix}": value
        for method, splits in differences.items()
        for split, difference in splits.items()
        for suffix, value in (("", difference.mean), ("_low", difference.low), ("_high", difference.high))
    }
    metrics |= {
        f"{method}/{split}/{name}": float(value)
        for method, student in comparison.students.items()
        for split, compared in student.splits.items()
        for name, value in (("fixed", compared.fixed), ("broken", compared.broken), *_p_values(compared))
    }
    reported = comparison.students[chosen].splits[REPORT_SPLIT]
    difference = reported.difference
    gain = estimate(difference.mean, difference.low, difference.high, difference.detectable)
    return CompareSummary(
        key_figure=f"{chosen} {percent(reported.accuracy)}, {gain} points vs. base",
        metrics=metrics,
        chosen=chosen,
        base=comparison.base_accuracy,
        students={
            m: {s: compared.accuracy for s, compared in student.splits.items()}
            for m, student in comparison.students.items()
        },
        differences=differences,
        verdicts=[verdict.text for verdict in conclusions],
    )


def _benchmark_metrics(benchmarks: Mapping[str, BenchmarkComparison]) -> dict[str, float]:
    """Return ``bench/<benchmark>/<method>/difference`` and others."""
    metrics = {}
    for name, compared in benchmarks.items():
        for method, result in compared.models.items():
            metrics[f"bench/{name}/{method}/score"] = result.score
            if (difference := result.difference) is not None:
                values = {"": difference.mean, "_low": difference.low, "_high": difference.high}
                metrics |= {f"bench/{name}/{method}/difference{end}": value for end, value in values.items()}
    return metrics


def _p_values(compared: SplitComparison) -> list[tuple[str, float]]:
    tests = compared.tests
    if tests is None or tests.bootstrap_corrected is None:
        return []
    return [("p_corrected", tests.bootstrap_corrected), ("mcnemar_p_corrected", tests.mcnemar_corrected)]


COMPARE = Stage("compare", compare, CompareSummary)
