"""Blind accuracy: the accuracy on questions whose image is removed, or replaced by that of a question about another scene.

High accuracy on a benchmark does not show that a model looks at its images: many questions can be answered without them (Goyal et al.,
Making the V in VQA Matter, 2017; Chen et al., MMStar, arXiv 2403.20330). This module measures how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vicur.config.blind import BlindView
from vicur.data.parquet import write_table
from vicur.evaluation.metrics import BlindMetrics
from vicur.evaluation.predictions import Prediction, predictions_table
from vicur.evaluation.rounds import Round
from vicur.evaluation.statistics import paired_difference

BLIND = "blind.parquet"


def blind_metrics(
    split: str, sighted: Sequence[Prediction], blind: Sequence[tuple[Round, Sequence[Prediction]]], seed: int
) -> dict[BlindView, BlindMetrics]:
    """Return the blind accuracies of a split, by view. Each is paired with the answers to the same questions with their images.

    Args:
        sighted: the predictions of the split with the images.
        blind: the rounds of all splits without them.
        seed: root seed of the bootstrap.
    """
    by_id = {prediction.example_id: prediction for prediction in sighted}
    found: dict[BlindView, BlindMetrics] = {}
    for each, predictions in blind:
        if each.split != split or each.view is None:
            continue
        with_image = [by_id[prediction.example_id] for prediction in predictions]
        right, seen = [p.correct for p in predictions], [p.correct for p in with_image]
        found[each.view] = BlindMetrics(
            examples=len(right),
            accuracy=sum(right) / len(right),
            sighted_accuracy=sum(seen) / len(seen),
            image_gain=paired_difference(seen, right, [p.group for p in with_image], seed=seed),
        )
    return found


def write_blind(blind: Sequence[tuple[Round, Sequence[Prediction]]], folder: Path) -> None:
    """Write ``blind.parquet`` into ``folder``: predictions without the images, with what was shown instead in the column ``view``."""
    import pyarrow as pa

    rows = [prediction for _, predictions in blind for prediction in predictions]
    views = [str(each.view) for each, predictions in blind for _ in predictions]
    table = predictions_table(rows)
    write_table(table.append_column("view", pa.array(views, pa.string())), folder / BLIND)
