"""The shards of a dataset, computed from the facts before any of them is written, so that each can be written by any process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vicur.config.data import SPLITS
from vicur.data import shards
from vicur.data.dataset import shard_name

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PlannedShard:
    """A shard that is to be written: the examples of its split from position ``first`` to before ``end``."""

    file: str
    split: str
    first: int
    end: int
    rows: int


def plan_shards(splits_N: NDArray[np.int8], image_bytes_N: NDArray[np.int64]) -> list[PlannedShard]:
    """Divide the examples of each split into shards, as a :class:`~vicur.data.dataset.DatasetWriter` does with one after the other.

    Args:
        splits_N: index of each example's split in ``SPLITS``, negative if it is dropped.
        image_bytes_N: size of its images.
    """
    planned = []
    for code, split in enumerate(SPLITS):
        positions = np.flatnonzero(splits_N == code)
        for number, (begin, end) in enumerate(_cuts(image_bytes_N[positions])):
            first, last = int(positions[begin]), int(positions[end - 1])
            planned.append(PlannedShard(shard_name(split, number), split, first, last + 1, end - begin))
    return planned


def _cuts(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    total = np.cumsum(sizes)
    begin = 0
    while begin < len(sizes):
        before = int(total[begin - 1]) if begin else 0
        # A shard ends with the row that fills it.
        by_bytes = int(np.searchsorted(total, before + shards.BYTES_PER_SHARD)) + 1
        end = min(len(sizes), by_bytes, begin + shards.ROWS_PER_SHARD)
        yield begin, end
        begin = end
