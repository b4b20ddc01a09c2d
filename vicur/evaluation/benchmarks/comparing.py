"""Compare students with their base on the paper's benchmarks: paired bootstrap by group of what each benchmark's metric is the mean of.

Levels compare with the paper's only if the base reproduces the paper's base, because the paper does not name its judge. Differences between
a student and its base, scored with one judge, do compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vicur.errors import VicurError
from vicur.evaluation.benchmarks.declaration import Benchmark
from vicur.evaluation.benchmarks.index import read_index
from vicur.evaluation.benchmarks.judge import JudgeIdentity
from vicur.evaluation.benchmarks.registry import benchmark
from vicur.evaluation.benchmarks.scores import Counts, ScoredRow, ScoreRecord, read_scores
from vicur.evaluation.statistics import Difference
from vicur.stage.table import BENCHMARKS
from vicur.wording import listed, percent

if TYPE_CHECKING:
    from vicur.evaluation.comparison import Bootstrap

_TOLERANCE = 1e-9
# Credits are halves, and the bootstrap counts in whole numbers.
_SCALE = 2


class BenchmarkResult(BaseModel):
    """One model on one benchmark. Scores are shares."""

    score: float
    rule_score: float
    """The same metric by this project's rules."""
    counts: Counts
    difference: Difference | None = None
    """Difference to the base; ``None`` for the base."""
    figures: dict[str, float]
    """Everything that was measured, by name."""


class BenchmarkComparison(BaseModel):
    """All models on one benchmark."""

    title: str
    metric: str
    official: bool
    """Whether the questions are those of the paper's harness."""
    units: int
    """Questions, or problems, that the metric is the mean of."""
    groups: int
    harness: str | None
    judge: JudgeIdentity | None
    """The judge; ``None`` if the scores are those of the rules."""
    models: dict[str, BenchmarkResult]
    """Results by method, and of ``base``."""


_Scores = tuple[ScoreRecord, list[ScoredRow]]


def compare_benchmarks(
    inputs: Mapping[str, Path], methods: Sequence[str], bootstrap: Bootstrap
) -> dict[str, BenchmarkComparison]:
    """Compare students with their base on each benchmark, if they were scored.

    Args:
        inputs: scores by ``<model>.benchmarks``.
        methods: the students.

    Raises:
        VicurError: if models were asked other questions, with other settings, or were judged by another judge.
    """
    if f"base{BENCHMARKS}" not in inputs:
        return {}
    folders = {
        model: inputs[f"{model}{BENCHMARKS}"] for model in ("base", *methods) if f"{model}{BENCHMARKS}" in inputs
    }
    compared = {}
    for name in read_index(folders["base"]):
        scores = {model: read_scores(folder / name) for model, folder in folders.items()}
        for model, (record, rows) in scores.items():
            _require_same_terms(name, scores["base"], (record, rows), model)
        compared[name] = _compared(benchmark(name), scores, bootstrap)
    return compared


def _compared(declared: Benchmark, scores: Mapping[str, _Scores], bootstrap: Bootstrap) -> BenchmarkComparison:
    record, rows = scores["base"]
    of_base = _credits(declared, record, rows)
    models = {}
    for model, (scored, its_rows) in scores.items():
        difference = None
        if model != "base":
            difference = _difference(_credits(declared, scored, its_rows), of_base, bootstrap)
        models[model] = BenchmarkResult(
            score=scored.score,
            rule_score=scored.rule_score,
            counts=scored.counts,
            difference=difference,
            figures=scored.figures(),
        )
    return BenchmarkComparison(
        title=declared.title,
        metric=declared.metric,
        official=record.official,
        units=len(of_base),
        groups=len({group for group, _ in of_base}),
        harness=record.harness,
        judge=record.judge,
        models=models,
    )


def _credits(declared: Benchmark, record: ScoreRecord, rows: Sequence[ScoredRow]) -> list[tuple[str, float]]:
    """Return what the score is the mean of, in the same order for every model."""
    found = declared.credits(rows)
    mean = sum(value for _, value in found) / len(found)
    if abs(mean - record.score) > _TOLERANCE:
        raise VicurError(
            f"the rows of {declared.title} give {percent(mean)}, but their record says {percent(record.score)}.",
            where="scores.parquet",
            remedy="Score the answers again.",
        )
    return found


def _difference(
    first: Sequence[tuple[str, float]], second: Sequence[tuple[str, float]], bootstrap: Bootstrap
) -> Difference:
    groups = [group for group, _ in second]
    of_first, of_second = ([round(_SCALE * value) for _, value in credit] for credit in (first, second))
    found = bootstrap(of_first, of_second, groups)
    # One group says nothing about others: its interval is that of every possible difference, whatever the scale.
    ends = (found.low, found.high) if len(set(groups)) == 1 else (found.low / _SCALE, found.high / _SCALE)
    return Difference(
        mean=found.mean / _SCALE,
        low=ends[0],
        high=ends[1],
        p=found.p,
        detectable=None if found.detectable is None else found.detectable / _SCALE,
    )


_SAME: Mapping[str, Callable[[ScoreRecord], object]] = {
    "questions": lambda record: record.answers.dataset,
    "settings of answers": lambda record: {k: v for k, v in record.answers.settings.items() if k != "cue_recovery"},
    "harness": lambda record: record.harness,
    "judge": lambda record: record.judge,
}


def _require_same_terms(name: str, base: _Scores, scores: _Scores, model: str) -> None:
    differs = [what for what, of in _SAME.items() if of(base[0]) != of(scores[0])]
    if not differs and [row.id for row in base[1]] != [row.id for row in scores[1]]:
        differs = ["questions"]
    if differs:
        raise VicurError(
            f"was scored on {name} with another {listed(differs)} than its base, so that they do not compare.",
            where=f"student {model}",
            remedy="Score both with the same judge, and answer with the same settings.",
        )
