"""The order of the training rows: a function of the number of rows, the seed and the step alone.

A training that resumes at a step continues with the batches of an uninterrupted one, whatever the number of processes.

Rows that fit into the buffer are permuted as a whole in each epoch. Of a larger dataset, the row groups are permuted and cut into windows
of about the size of the buffer, and the rows of a window are permuted. A batch then needs only the groups of one window (or two, at its
end), so that a reader which caches a window reads each group once an epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vicur.seeds import numpy_generator

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Buffer:
    """Size of the buffer that rows are shuffled in."""

    rows: int = 1 << 14
    size: int = 512 << 20  # bytes


@dataclass(frozen=True)
class RowGroups:
    """The row groups of a dataset. Rows are numbered through, group by group."""

    rows: tuple[int, ...]
    sizes: tuple[int, ...]  # in bytes

    @classmethod
    def single(cls, rows: int) -> RowGroups:
        """Return the groups of rows that are in memory."""
        return cls((rows,), (0,))


class BatchOrder:
    """The row numbers of each batch. Each epoch contains every row once; batches may span epochs."""

    def __init__(self, groups: RowGroups, batch_size: int, seed: int, buffer: Buffer | None = None) -> None:
        buffer = buffer or Buffer()
        self._sizes = np.array(groups.rows, dtype=np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._count = int(self._sizes.sum())
        self._batch_size = batch_size
        self._seed = seed
        needed = max(-(-self._count // buffer.rows), -(-sum(groups.sizes) // buffer.size), 1)
        # Windows of equal numbers of groups: a short last one would give batches of few groups.
        self._windows = min(needed, len(groups.rows))
        # A batch spans two epochs, or two windows, at most, unless the dataset is smaller than it.
        self._epoch = lru_cache(maxsize=2)(self._epoch_windows)
        self._window = lru_cache(maxsize=2)(self._window_rows)

    def rows(self, step: int) -> list[int]:
        """Return the row numbers of batch ``step`` (from 0), of all ranks."""
        places = range(step * self._batch_size, (step + 1) * self._batch_size)
        return [self._row(*divmod(place, self._count)) for place in places]

    def _row(self, epoch: int, place: int) -> int:
        if self._windows == 1:
            return int(self._window(epoch, 0)[place])
        _, ends = self._epoch(epoch)
        window = int(np.searchsorted(ends, place, side="right"))
        start = int(ends[window - 1]) if window else 0
        return int(self._window(epoch, window)[place - start])

    def _epoch_windows(self, epoch: int) -> tuple[list[Rows], Rows]:
        """Return the groups of each window of an epoch, and the number of rows up to the end of each window."""
        order = numpy_generator(self._seed, "data", "epoch", epoch, "groups").permutation(len(self._sizes))
        windows = np.array_split(order, self._windows)
        return windows, np.cumsum([int(self._sizes[groups].sum()) for groups in windows])

    def _window_rows(self, epoch: int, window: int) -> Rows:
        """Return the rows of a window in their order."""
        if self._windows == 1:
            return numpy_generator(self._seed, "data", "epoch", epoch).permutation(self._count)
        groups = self._epoch(epoch)[0][window]
        rows = np.concatenate([np.arange(self._starts[g], self._starts[g] + self._sizes[g]) for g in groups])
        generator = numpy_generator(self._seed, "data", "epoch", epoch, "window", window)
        return rows[generator.permutation(len(rows))]
