"""Repeated sampling: the mean accuracy of several sampled responses to each question, and pass@k.

pass@k is the probability that at least one of ``k`` responses is correct (Chen et al., arXiv 2107.03374). It measures what a model can
reach, not what it gives: choosing the correct response needs a verifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from pathlib import Path

import numpy as np

from vicur.data.parquet import write_table
from vicur.evaluation.metrics import RepeatMetrics
from vicur.evaluation.predictions import Prediction, predictions_table
from vicur.evaluation.rounds import Round
from vicur.evaluation.statistics import paired_difference

REPEATS = "repeats.parquet"


def pass_at(k: int, samples: int, correct: int) -> float:
    """Return the unbiased estimate of pass@k from ``correct`` of ``samples`` responses (Chen et al., equation 1).

    Raises:
        ValueError: if there are fewer than ``k`` samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} cannot be estimated from {samples} samples")
    return 1 - comb(samples - correct, k) / comb(samples, k)


def repeat_metrics(of_round: Round, predictions: Sequence[Prediction], seed: int) -> RepeatMetrics:
    """Return mean accuracy and pass@k of a round, for k = 1, 2, 4, ... and the number of samples.

    Args:
        predictions: those of each question after those of the one before it.
        seed: root seed of the bootstrap, which resamples groups of questions.
    """
    repeats = of_round.repeats
    correct_NS = np.array([p.correct for p in predictions]).reshape(-1, repeats)
    interval = paired_difference(
        correct_NS.ravel(), np.zeros(correct_NS.size, dtype=bool), [p.group for p in predictions], seed=seed
    )
    powers = [2**n for n in range(repeats.bit_length()) if 2**n < repeats]
    counts_N = correct_NS.sum(axis=1).tolist()
    return RepeatMetrics(
        examples=len(correct_NS),
        count=repeats,
        mean=interval.mean,
        low=max(0.0, interval.low),
        high=interval.high,
        pass_at={k: float(np.mean([pass_at(k, repeats, correct) for correct in counts_N])) for k in (*powers, repeats)},
        unfinished_share=float(np.mean([not p.finished for p in predictions])),
        sampling=of_round.sampling.model_dump(mode="json"),
    )


def write_repeats(repeated: Mapping[Round, Sequence[Prediction]], folder: Path) -> None:
    """Write ``repeats.parquet`` into ``folder``: the sampled responses, with their number (from 0) in the column ``sample``."""
    import pyarrow as pa

    rows = [prediction for predictions in repeated.values() for prediction in predictions]
    numbers = [n % each.repeats for each, predictions in repeated.items() for n in range(len(predictions))]
    write_table(predictions_table(rows).append_column("sample", pa.array(numbers, pa.int64())), folder / REPEATS)
