"""Fingerprints of many images in columns. The hashes are in memory; the thumbnails, seven times as large, may be in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np

from vicur.data.fingerprint import HASH_BYTES, THUMBNAIL_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ThumbnailFile:
    """Thumbnails in a file, which is read and not mapped: the pages around each thumbnail would count as memory of the process."""

    def __init__(self, file: IO[bytes]) -> None:
        file.flush()
        self._file = file

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return thumbnails [M, THUMBNAIL_BYTES] by their places in the file [M]."""
        distinct, inverse = np.unique(places, return_inverse=True)
        found = np.empty((len(distinct), THUMBNAIL_BYTES), dtype=np.uint8)
        for row, place in zip(found, distinct.tolist(), strict=True):
            os.preadv(self._file.fileno(), [row.data], place * THUMBNAIL_BYTES)
        return found[inverse]


@dataclass(frozen=True, eq=False)
class Prints:
    """Fingerprints (:mod:`vicur.data.fingerprint`) of N images."""

    hashes: NDArray[np.uint8]  # [N, HASH_BYTES]
    thumbnails: NDArray[np.uint8] | ThumbnailFile  # [any, THUMBNAIL_BYTES]; only candidates' are read
    places: NDArray[np.int64]  # [N]; row of each image's thumbnail

    @classmethod
    def of(cls, fingerprints: NDArray[np.uint8]) -> Prints:
        """Return the columns of fingerprints in memory [N, FINGERPRINT_BYTES]."""
        hashes, thumbnails = fingerprints[:, :HASH_BYTES], fingerprints[:, HASH_BYTES:]
        return cls(np.ascontiguousarray(hashes), thumbnails, np.arange(len(fingerprints)))

    def __len__(self) -> int:
        return len(self.hashes)

    def take(self, images: NDArray[np.int64]) -> Prints:
        """Return the fingerprints of some images. The thumbnails are not copied."""
        return Prints(self.hashes[images], self.thumbnails, self.places[images])

    def levels(self, images: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the thumbnails [M, THUMBNAIL_BYTES] of M images."""
        return self.thumbnails[self.places[images]].astype(np.int16)
