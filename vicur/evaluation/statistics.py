"""Paired bootstrap of a difference in accuracy, of two models or of two ways to make one.

Questions about one scene are not independent: a student that misreads a digit fails all of them. So whole groups are
resampled, and both models' answers to a question stay together (Efron & Tibshirani, An Introduction to the
Bootstrap, 1993).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from vicur.seeds import numpy_generator

# Resamples are drawn in blocks of about this many indices, to bound memory. Changing the value changes the order of the
# random draws, and with it the intervals.
_BLOCK = 4_000_000
POWER = 0.8
"""Probability with which the minimal detectable effect is detected."""


class Difference(BaseModel, frozen=True):
    """A difference in accuracy with its interval, as shares (0.1 is ten points)."""

    mean: float
    low: float
    high: float
    p: float | None = Field(default=None, exclude_if=lambda p: p is None)
    """Two-sided p-value of the bootstrap for no difference; ``None`` if the questions are a single group."""
    detectable: float | None = Field(default=None, exclude_if=lambda share: share is None)
    """Minimal detectable effect: the true difference whose interval excludes zero with a probability of 80 %."""

    @property
    def verdict(self) -> Literal["better", "worse", "tie"]:
        """``tie`` if the interval includes zero, whatever the mean."""
        # A bound of exactly zero is inside the interval.
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "tie"

    @property
    def reversed(self) -> Difference:
        """The difference with the two models swapped."""
        return Difference(mean=-self.mean, low=-self.high, high=-self.low, p=self.p, detectable=self.detectable)


def paired_difference(
    correct_N: Sequence[int] | NDArray[np.bool_],
    reference_N: Sequence[int] | NDArray[np.bool_],
    groups_N: Sequence[str],
    *,
    seed: int,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Difference:
    """Compute the accuracy of one model minus that of another on the same questions, with a percentile interval.

    Groups are resampled. The order of the questions does not matter, and the same seed draws the same groups for every
    pair of models.

    Args:
        correct_N: whether the model answers each question correctly, or what it counts.
        reference_N: the same for the model that it is compared with.
        groups_N: the group of each question.
        seed: root seed; the substream is ``bootstrap``.
        resamples: number of resamples.
        confidence: level of the interval.

    Raises:
        ValueError: if the sequences are empty or differ in length.
    """
    if not len(correct_N) or not len(correct_N) == len(reference_N) == len(groups_N):
        raise ValueError(f"{len(correct_N)}, {len(reference_N)} and {len(groups_N)} rows cannot be paired")
    _, place_N = np.unique(np.asarray(groups_N, dtype=str), return_inverse=True)
    gain_N = np.asarray(correct_N, dtype=np.int64) - np.asarray(reference_N, dtype=np.int64)
    size_G = np.bincount(place_N)
    gain_G = np.zeros_like(size_G)
    np.add.at(gain_G, place_N, gain_N)
    mean = float(gain_N.mean())
    # Resampling a single group gives the same group again and an interval of width zero. In truth nothing is known about
    # other groups, so the interval covers every possible difference.
    if len(size_G) == 1:
        return Difference(mean=mean, low=-1.0, high=1.0)
    return _summarised(mean, _resampled(gain_G, size_G, resamples, seed), confidence)


def _summarised(mean: float, differences_R: NDArray[np.float64], confidence: float) -> Difference:
    """Return a difference with the interval, the p-value and the detectable effect that follow from its resamples [R]."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences_R, [tail, 1 - tail])
    # Counting the sample itself keeps p above zero (Davison & Hinkley, Bootstrap Methods, 1997, section 4.2.3).
    beyond = 1 + min((differences_R <= 0).sum(), (differences_R >= 0).sum())
    quantiles = NormalDist().inv_cdf(1 - tail) + NormalDist().inv_cdf(POWER)
    return Difference(
        mean=mean,
        low=float(low),
        high=float(high),
        p=float(min(1.0, 2 * beyond / (len(differences_R) + 1))),
        # From the standard error alone, as before an experiment: it does not depend on the difference that was found.
        detectable=float(quantiles * differences_R.std()),
    )


def _resampled(gain_G: NDArray[np.int64], size_G: NDArray[np.int64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Return the mean gain per question of each resample [R]."""
    rng = numpy_generator(seed, "bootstrap")
    rows = max(1, _BLOCK // len(gain_G))
    blocks = []
    for start in range(0, resamples, rows):
        sampled_RG = rng.integers(0, len(gain_G), size=(min(rows, resamples - start), len(gain_G)))
        # Groups differ in size: the mean is over questions, so gains and sizes are summed separately.
        blocks.append(gain_G[sampled_RG].sum(axis=1) / size_G[sampled_RG].sum(axis=1))
    return np.concatenate(blocks)


def paired_difference_over_seeds(
    correct_SN: NDArray[np.bool_],
    reference_SN: NDArray[np.bool_],
    groups_N: Sequence[str],
    *,
    seed: int,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Difference:
    """Compute the difference in mean accuracy of two recipes over several seeds, with a percentile interval.

    A recipe trains one model per seed, and all models answer the same questions: seeds and groups are crossed, and both
    are resampled independently (Owen, The pigeonhole bootstrap, 2007). Models of one seed stay together, as do all
    answers to a question. With one seed, the interval is that of :func:`paired_difference` and covers the questions only.

    Args:
        correct_SN: whether the model of each seed answers each question correctly [S, N].
        reference_SN: the same for the recipe that it is compared with [S, N], or for a single model [1, N].
        groups_N: the group of each question.
        seed: root seed; the substream is ``bootstrap, seeds``.
        resamples: number of resamples.
        confidence: level of the interval.

    Raises:
        ValueError: if the arrays are empty or their shapes differ.
    """
    if correct_SN.size == 0 or correct_SN.shape[1] != len(groups_N) or reference_SN.shape[1] != len(groups_N):
        raise ValueError(f"{correct_SN.shape}, {reference_SN.shape} and {len(groups_N)} rows cannot be paired")
    _, place_N = np.unique(np.asarray(groups_N, dtype=str), return_inverse=True)
    gain_SN = correct_SN.astype(np.int64) - reference_SN.astype(np.int64)
    seeds, size_G = len(gain_SN), np.bincount(place_N)
    gain_SG = np.stack([np.bincount(place_N, weights=gain_N, minlength=len(size_G)) for gain_N in gain_SN])
    mean = float(gain_SN.mean())
    if len(size_G) == 1:
        return Difference(mean=mean, low=-1.0, high=1.0)
    rng = numpy_generator(seed, "bootstrap", "seeds")
    # How often each seed and each group occurs in a resample. Products of counts avoid building the resampled arrays.
    counts_RS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    counts_RG = rng.multinomial(len(size_G), np.full(len(size_G), 1 / len(size_G)), size=resamples)
    differences_R = ((counts_RS @ gain_SG) * counts_RG).sum(axis=1) / (seeds * (counts_RG @ size_G))
    return _summarised(mean, differences_R, confidence)
