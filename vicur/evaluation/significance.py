"""Tests of differences between models, corrected for the number of comparisons.

The paired bootstrap resamples whole groups of questions, so its p-value is the one to rely on. McNemar's exact test is reported beside it,
because it is the usual test for two models on the same questions; it takes all questions for independent, so its p-value is too small if
those of a group are answered alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel


class PairedTests(BaseModel):
    """Tests of one difference between two models on the same questions."""

    mcnemar: float
    """p-value of McNemar's exact test."""
    mcnemar_corrected: float
    """The same after Holm's correction for ``comparisons``."""
    bootstrap: float | None
    """p-value of the paired bootstrap over groups; ``None`` for a single group."""
    bootstrap_corrected: float | None
    comparisons: int
    """Number of comparisons on these questions: of each student with its base, and of students with each other."""


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    Only questions that one of two models answers correctly count: without a difference, either model is as likely to be that one (McNemar
    1947; the exact form is a binomial test with probability 1/2).

    Args:
        gained: questions that the first model answers correctly and the second does not.
        lost: the reverse.
    """
    from scipy.special import bdtr

    if gained == lost:
        return 1.0
    return float(min(1.0, 2 * bdtr(min(gained, lost), gained + lost, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down method (Holm 1979), in the given order.

    Rejecting those below a level keeps the probability of any false rejection below it, whatever the dependence of the tests.
    """
    order = np.argsort(p_values, kind="stable")
    count = len(p_values)
    adjusted = np.empty(count)
    factors = count - np.arange(count)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors))
    return [float(p) for p in adjusted]


def paired_tests(mcnemars: Sequence[float], bootstraps: Sequence[float | None]) -> list[PairedTests]:
    """Combine and correct the p-values of all comparisons on the same questions, in the given order."""
    known = [p for p in bootstraps if p is not None]
    corrected = iter(holm(known))
    return [
        PairedTests(
            mcnemar=of_mcnemar,
            mcnemar_corrected=mcnemar_corrected,
            bootstrap=of_bootstrap,
            bootstrap_corrected=None if of_bootstrap is None else next(corrected),
            comparisons=len(mcnemars),
        )
        for of_mcnemar, mcnemar_corrected, of_bootstrap in zip(mcnemars, holm(mcnemars), bootstraps, strict=True)
    ]
