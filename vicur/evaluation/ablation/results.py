"""The figures of an ablation, as ``ablation.json``: each arm over its seeds, its difference to the base, and the contrasts."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Literal

from pydantic import BaseModel

from vicur.config.ablation import BASE, Analysis, Contrast
from vicur.evaluation.ablation.gather import Gathered, GatheredArm
from vicur.evaluation.statistics import Difference, paired_difference_over_seeds

Outcome = Literal["held", "did not hold", "reported"]


class Spread(BaseModel):
    """A figure over the seeds."""

    mean: float
    std: float
    """Standard deviation with n - 1; 0 for one seed."""
    by_seed: list[float]

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of a value a seed."""
        std = statistics.stdev(values) if len(values) > 1 else 0.0
        return cls(mean=statistics.fmean(values), std=std, by_seed=values)


class ArmResult(BaseModel):
    """One arm."""

    about: str
    paper: str | None
    """Row of the paper's tables that it stands for."""
    objective: str | None
    """What its trainings minimised, as their record has it."""
    accuracy: dict[str, Spread]
    """By split."""
    difference: dict[str, Difference]
    """To the base, by split."""
    evidence: Spread | None
    """Share of test responses whose evidence is right, whatever their answer."""
    best_step: Spread | None
    """Updates after which validation was best; ``None`` for an arm that trains none, and for one whose last weights are kept."""
    leaked: tuple[int, int] | None
    """Rollouts in training that held the word "Hint", and how often they held it, over all seeds; ``None`` where nothing was sampled."""


class ContrastResult(BaseModel):
    """One comparison that was decided on beforehand."""

    contrast: Contrast
    difference: dict[str, Difference]
    """The first minus the second, by split."""
    outcome: Outcome
    """On the test questions, whether what was expected was found; an interval that includes zero is a tie, which nobody expects."""


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


def results_of(gathered: Gathered, analysis: Analysis, seed: int) -> AblationResults:
    """Computes the figures.

    Args:
        gathered: the cells.
        analysis: contrasts, and settings of the intervals.
        seed: root seed of the resamples.
    """
    splits = list(gathered.base.predictions)
    bootstrap = partial(
        paired_difference_over_seeds, seed=seed, resamples=analysis.resamples, confidence=analysis.confidence
    )

    def difference(first: str, second: str) -> dict[str, Difference]:
        found = {}
        for split in splits:
            # Of the base there is one model, whichever side it is on.
            if first == BASE:
                found[split] = difference_of(second, first, split).reversed
            else:
                found[split] = difference_of(first, second, split)
        return found

    def difference_of(first: str, second: str, split: str) -> Difference:
        return bootstrap(gathered.correct(first, split), gathered.correct(second, split), gathered.groups(split))

    contrasts = []
    for contrast in analysis.contrasts:
        found = difference(contrast.first, contrast.second)
        contrasts.append(ContrastResult(contrast=contrast, difference=found, outcome=_outcome(contrast, found)))
    return AblationResults(
        seeds=list(gathered.seeds),
        base={split: m.accuracy for split, m in gathered.base.metrics.splits.items()},
        examples={split: m.examples for split, m in gathered.base.metrics.splits.items()},
        arms={name: _arm(arm, splits, difference(name, BASE)) for name, arm in gathered.arms.items()},
        contrasts=contrasts,
        confidence=analysis.confidence,
        resamples=analysis.resamples,
    )


def _outcome(contrast: Contrast, found: dict[str, Difference]) -> Outcome:
    if contrast.expected is None:
        return "reported"
    return "held" if found["test"].verdict == contrast.expected else "did not hold"


def _arm(gathered: GatheredArm, splits: list[str], difference: dict[str, Difference]) -> ArmResult:
    found = [gathered.evaluations[seed].metrics for seed in sorted(gathered.evaluations)]
    evidence = [e.right for m in found if (e := m.splits["test"].evidence) is not None]
    trained = list(gathered.histories.values())
    sampled = [record for history in trained for record in history if "leakage/samples" in record]
    best_kept = gathered.arm.training.get("keep", "best") == "best"
    counts = tuple(int(sum(r[f"leakage/{name}"] for r in sampled)) for name in ("samples", "occurrences"))
    return ArmResult(
        about=gathered.arm.about,
        paper=gathered.arm.paper,
        objective=(found[0].model.training.get("objective") or {}).get("type"),
        accuracy={split: Spread.of([m.splits[split].accuracy for m in found]) for split in splits},
        difference=difference,
        evidence=Spread.of(evidence) if evidence else None,
        best_step=Spread.of([_best_step(history) for history in trained]) if trained and best_kept else None,
        leaked=(counts[0], counts[1]) if sampled else None,
    )


def _best_step(history: list[dict[str, float]]) -> float:
    """The step whose validation accuracy is the best, the first of equals."""
    validated = [record for record in history if "validation_accuracy" in record]
    return max(validated, key=lambda record: record["validation_accuracy"])["step"]
