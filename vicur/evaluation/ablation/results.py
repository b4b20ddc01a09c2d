"""Compute ``ablation.json``: each arm over its seeds, its difference to the base, and the contrasts."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Literal

from pydantic import BaseModel

from vicur.config.ablation import BASE, Analysis, Contrast
from vicur.evaluation.ablation.runs import AblationRuns, ArmRuns
from vicur.evaluation.statistics import Difference, paired_difference_over_seeds

Outcome = Literal["held", "did not hold", "reported"]


class SeedStatistics(BaseModel):
    """Statistics of a metric over the seeds."""

    mean: float
    std: float
    """Standard deviation with n - 1 in the denominator; 0 for one seed."""
    by_seed: list[float]

    @classmethod
    def of(cls, values: list[float]) -> SeedStatistics:
        """Compute the statistics of one value per seed."""
        std = statistics.stdev(values) if len(values) > 1 else 0.0
        return cls(mean=statistics.fmean(values), std=std, by_seed=values)


class ArmResult(BaseModel):
    """One arm. Accuracies and differences are by split."""

    about: str
    paper: str | None
    """The corresponding row of the paper's tables."""
    objective: str | None
    """Type of the objective, from the record of the trainings."""
    accuracy: dict[str, SeedStatistics]
    difference: dict[str, Difference]
    """Difference to the base."""
    evidence: SeedStatistics | None
    """Share of test responses with correct evidence, regardless of their answer."""
    best_step: SeedStatistics | None
    """Step of the best validation accuracy; ``None`` for an arm that trains no student, or that keeps its last weights."""
    leaked: tuple[int, int] | None
    """Rollouts with the word "Hint" and occurrences of the word, over all seeds; ``None`` for an arm without rollouts."""


class ContrastResult(BaseModel):
    """Result of one contrast of the configuration."""

    contrast: Contrast
    difference: dict[str, Difference]
    """Accuracy of the first minus that of the second, by split."""
    outcome: Outcome
    """Result of the expectation on the test questions."""


class AblationResults(BaseModel):
    """Content of ``ablation.json``."""

    seeds: list[int]
    base: dict[str, float]
    """Accuracy of the base by split."""
    examples: dict[str, int]
    """Questions by split."""
    arms: dict[str, ArmResult]
    contrasts: list[ContrastResult]
    confidence: float
    resamples: int


def results_of(runs: AblationRuns, analysis: Analysis, seed: int) -> AblationResults:
    """Compute the results of an ablation; ``seed`` is the root seed of the resamples."""
    splits = list(runs.base.predictions)
    bootstrap = partial(
        paired_difference_over_seeds, seed=seed, resamples=analysis.resamples, confidence=analysis.confidence
    )

    def difference(first: str, second: str) -> dict[str, Difference]:
        by_split = {}
        for split in splits:
            # The base is a single model, and the bootstrap takes a single model only as the reference.
            if first == BASE:
                by_split[split] = difference_of(second, first, split).reversed
            else:
                by_split[split] = difference_of(first, second, split)
        return by_split

    def difference_of(first: str, second: str, split: str) -> Difference:
        return bootstrap(runs.correct(first, split), runs.correct(second, split), runs.groups(split))

    contrasts = []
    for contrast in analysis.contrasts:
        by_split = difference(contrast.first, contrast.second)
        contrasts.append(ContrastResult(contrast=contrast, difference=by_split, outcome=_outcome(contrast, by_split)))
    return AblationResults(
        seeds=list(runs.seeds),
        base={split: m.accuracy for split, m in runs.base.metrics.splits.items()},
        examples={split: m.examples for split, m in runs.base.metrics.splits.items()},
        arms={name: _arm(arm, splits, difference(name, BASE)) for name, arm in runs.arms.items()},
        contrasts=contrasts,
        confidence=analysis.confidence,
        resamples=analysis.resamples,
    )


def _outcome(contrast: Contrast, difference: dict[str, Difference]) -> Outcome:
    if contrast.expected is None:
        return "reported"
    # A tie never confirms an expectation: contrasts expect "better" or "worse".
    return "held" if difference["test"].verdict == contrast.expected else "did not hold"


def _arm(runs: ArmRuns, splits: list[str], difference: dict[str, Difference]) -> ArmResult:
    metrics = [runs.evaluations[seed].metrics for seed in sorted(runs.evaluations)]
    evidence = [e.right for m in metrics if (e := m.splits["test"].evidence) is not None]
    trained = list(runs.histories.values())
    # Supervised trainings sample nothing and have no such records.
    sampled = [record for history in trained for record in history if "leakage/samples" in record]
    best_kept = runs.arm.training.get("keep", "best") == "best"
    counts = tuple(int(sum(r[f"leakage/{name}"] for r in sampled)) for name in ("samples", "occurrences"))
    return ArmResult(
        about=runs.arm.about,
        paper=runs.arm.paper,
        objective=(metrics[0].model.training.get("objective") or {}).get("type"),
        accuracy={split: SeedStatistics.of([m.splits[split].accuracy for m in metrics]) for split in splits},
        difference=difference,
        evidence=SeedStatistics.of(evidence) if evidence else None,
        best_step=SeedStatistics.of([_best_step(history) for history in trained]) if trained and best_kept else None,
        leaked=(counts[0], counts[1]) if sampled else None,
    )


def _best_step(history: list[dict[str, float]]) -> float:
    validated = [record for record in history if "validation_accuracy" in record]
    # max returns the first of equal records, as the training keeps the first of equally good weights.
    return max(validated, key=lambda record: record["validation_accuracy"])["step"]
