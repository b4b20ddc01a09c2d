"""Tables of the paper's benchmarks: all models, with the paper's figures next to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vicur.evaluation.benchmarks.comparing import BenchmarkComparison, BenchmarkResult
from vicur.evaluation.benchmarks.registry import BENCHMARKS
from vicur.evaluation.report.models import ReportModel


@dataclass(frozen=True)
class BenchmarkRow:
    """One model on one benchmark."""

    model: ReportModel
    result: BenchmarkResult
    # The paper's accuracies in per cent of its students of 2B and 8B parameters, if it has this method.
    paper_2b: float | None
    paper_8b: float | None


@dataclass(frozen=True)
class BenchmarkTable:
    """All models on one benchmark."""

    name: str
    comparison: BenchmarkComparison
    rows: tuple[BenchmarkRow, ...]


def benchmark_tables(
    benchmarks: Mapping[str, BenchmarkComparison], models: Sequence[ReportModel]
) -> list[BenchmarkTable]:
    """Return a table per benchmark. Models without scores are left out."""
    tables = []
    for name, compared in benchmarks.items():
        paper = BENCHMARKS[name].paper
        rows = tuple(
            BenchmarkRow(
                model,
                compared.models[model.name],
                paper.student_2b.get(model.name),
                paper.student_8b.get(model.name),
            )
            for model in models
            if model.name in compared.models
        )
        tables.append(BenchmarkTable(name, compared, rows))
    return tables
