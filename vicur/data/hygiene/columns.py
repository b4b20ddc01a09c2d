"""The images of many examples in columns, without the images: what tells identical and nearly identical ones apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vicur.data.fingerprint import FINGERPRINT_BYTES, HASH_BYTES
from vicur.data.hygiene.prints import Prints, ThumbnailFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGEST = 32  # bytes of a SHA-256
# Two words of a SHA-256 tell any number of images apart.
_WORDS = 2


@dataclass(frozen=True, eq=False)
class ImageColumns:
    """Images of N examples, I in total."""

    first: NDArray[np.int64]  # [N + 1]; the images of example n are first[n] to first[n + 1]
    digests: NDArray[np.uint64]  # [I, 2]; beginning of each image's SHA-256
    prints: Prints | None  # of the I images; None if they have no fingerprints

    def chosen(self, rows: NDArray[np.int64]) -> ImageColumns:
        """Return the images of some examples."""
        if len(rows) == len(self.first) - 1:
            return self
        counts = np.diff(self.first)[rows]
        first = np.concatenate([[0], np.cumsum(counts)])
        images = np.repeat(self.first[rows] - first[:-1], counts) + np.arange(first[-1])
        return ImageColumns(first, self.digests[images], None if self.prints is None else self.prints.take(images))


def image_columns(lists: Iterable[pa.ListArray], thumbnails: IO[bytes] | None = None) -> ImageColumns:
    """Return the columns of facts about images (:data:`~vicur.data.importing.facts.IMAGE_FACTS`), one list for each example.

    Args:
        lists: arrays of lists, of which one is in memory at a time.
        thumbnails: an empty file for the thumbnails. By default, they are in memory.
    """
    counts, digests, hashes = [], [], []
    kept: list[NDArray[np.uint8]] = []
    complete = True
    for part in lists:
        images = part.flatten()
        counts.append(np.diff(part.offsets.to_numpy()))
        digests.append(fixed_bytes(images.field("sha256"), _DIGEST)[:, : 8 * _WORDS].copy())
        column = images.field("fingerprint")
        complete = complete and not column.null_count
        if not complete or not len(column):
            continue
        prints = fixed_bytes(column, FINGERPRINT_BYTES)
        hashes.append(prints[:, :HASH_BYTES].copy())
        if thumbnails is None:
            kept.append(prints[:, HASH_BYTES:].copy())
        else:
            thumbnails.write(np.ascontiguousarray(prints[:, HASH_BYTES:]).data)
    first = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate(counts or [[]]), dtype=np.int64)])
    words = np.concatenate(digests or [np.zeros((0, 8 * _WORDS), dtype=np.uint8)]).view(np.uint64)
    if not complete or not hashes:
        return ImageColumns(first, words, None)
    stored = np.concatenate(kept) if thumbnails is None else ThumbnailFile(thumbnails)
    return ImageColumns(first, words, Prints(np.concatenate(hashes), stored, np.arange(len(words))))


def fixed_bytes(column: pa.Array, size: int) -> NDArray[np.uint8]:
    """Return a column of fixed-size bytes without nulls as an array [N, size] that shares its memory."""
    if not len(column):
        return np.zeros((0, size), dtype=np.uint8)
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    return data[column.offset * size : (column.offset + len(column)) * size].reshape(-1, size)
