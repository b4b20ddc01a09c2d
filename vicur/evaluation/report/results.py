"""Result tables and their axes: accuracy, differences with intervals, kinds of questions, evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vicur.config.evaluation import CHOICE_SPLIT, REPORT_SPLIT
from vicur.evaluation.comparison import Comparison, PairComparison
from vicur.evaluation.latency_metrics import LatencyMetrics
from vicur.evaluation.metrics import EvaluationMetrics, EvidenceMetrics, SplitMetrics
from vicur.evaluation.report.models import ReportModel
from vicur.evaluation.report.scales import Scale, round_scale
from vicur.evaluation.significance import PairedTests
from vicur.evaluation.statistics import Difference

SPLIT_TITLES = {"test": "Test", "ood": "Out of domain", "validation": "Validation"}


@dataclass(frozen=True)
class ResultRow:
    """One model on one split. The base has no difference."""

    model: ReportModel
    accuracy: float
    difference: Difference | None
    fixed: int | None
    broken: int | None
    tests: PairedTests | None


@dataclass(frozen=True)
class ResultTable:
    """All models on one split or evaluation set."""

    split: str
    title: str
    examples: int
    groups: int
    rows: tuple[ResultRow, ...]
    chosen_here: bool
    """Whether the student was chosen on these questions."""


@dataclass(frozen=True)
class KindRow:
    """Accuracy of all models on one kind of question, with the differences to the base."""

    kind: str
    examples: int
    accuracy: tuple[tuple[ReportModel, float, Difference | None], ...]

    @property
    def span(self) -> tuple[float, float]:
        values = [accuracy for _, accuracy, _ in self.accuracy]
        return min(values), max(values)


@dataclass(frozen=True)
class KindTable:
    """All kinds of questions of one split."""

    split: str
    title: str
    rows: tuple[KindRow, ...]


def accuracy_scale(tables: Sequence[KindTable]) -> Scale:
    """Return the axis of the charts by kind, in percent."""
    shares = [100 * accuracy for table in tables for row in table.rows for _, accuracy, _ in row.accuracy]
    if not shares:
        return round_scale([0.0, 100.0])
    # Three points of room at both ends. Unlike bars, dots do not need an axis that starts at zero.
    return round_scale([max(0.0, min(shares) - 3), min(100.0, max(shares) + 3)], ticks=4)


@dataclass(frozen=True)
class BehaviourRow:
    """Metrics of one model on the test questions beyond accuracy."""

    model: ReportModel
    metrics: SplitMetrics
    latency: LatencyMetrics | None

    @property
    def evidence(self) -> EvidenceMetrics | None:
        return self.metrics.evidence


def split_order(comparison: Comparison) -> list[str]:
    """Return the splits and evaluation sets in the order of the report: test first, validation last."""
    others = [s for s in comparison.base_accuracy if s not in (REPORT_SPLIT, CHOICE_SPLIT)]
    return [REPORT_SPLIT, *others, *(s for s in comparison.base_accuracy if s == CHOICE_SPLIT)]


def result_tables(comparison: Comparison, models: Sequence[ReportModel]) -> list[ResultTable]:
    tables = []
    for split in split_order(comparison):
        rows = [ResultRow(models[0], comparison.base_accuracy[split], None, None, None, None)]
        for model in models[1:]:
            compared = comparison.students[model.name].splits[split]
            counts = compared.fixed, compared.broken
            rows.append(ResultRow(model, compared.accuracy, compared.difference, *counts, compared.tests))
        any_student = next(iter(comparison.students.values())).splits[split]
        title = SPLIT_TITLES.get(split, split)
        chosen_here = split == comparison.choice.split
        tables.append(ResultTable(split, title, any_student.examples, any_student.groups, tuple(rows), chosen_here))
    return tables


def difference_scale(tables: Sequence[ResultTable], pairs: Sequence[PairComparison]) -> Scale:
    """Return the axis that all forest plots share, in percentage points."""
    differences = [row.difference for table in tables for row in table.rows if row.difference is not None]
    differences += [pair.splits[REPORT_SPLIT] for pair in pairs]
    return round_scale([100 * v for d in differences for v in (d.low, d.high)], include=(0.0,), ticks=4)


def kind_tables(comparison: Comparison, models: Sequence[ReportModel]) -> list[KindTable]:
    """Return the accuracy by kind for each split. Splits with a single kind have no table."""
    tables = []
    for split in split_order(comparison):
        kinds = next(iter(comparison.students.values())).splits[split].by_kind
        if len(kinds) < 2:
            continue
        rows = []
        for kind, of_kind in kinds.items():
            accuracy: list[tuple[ReportModel, float, Difference | None]] = [(models[0], of_kind.base_accuracy, None)]
            for model in models[1:]:
                compared = comparison.students[model.name].splits[split].by_kind[kind]
                accuracy.append((model, compared.accuracy, compared.difference))
            rows.append(KindRow(kind, of_kind.examples, tuple(accuracy)))
        tables.append(KindTable(split, SPLIT_TITLES.get(split, split), tuple(rows)))
    return tables


def behaviour_rows(models: Sequence[ReportModel], metrics: Mapping[str, EvaluationMetrics]) -> list[BehaviourRow]:
    return [
        BehaviourRow(model, metrics[model.name].splits[REPORT_SPLIT], metrics[model.name].latency) for model in models
    ]
