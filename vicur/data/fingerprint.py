"""Fingerprints of images, by which near-duplicates are found.

A fingerprint consists of two parts. The *hash* finds candidates: the 256 lowest frequencies of the image's brightness, one bit each (pHash,
with the median as the threshold). It survives compression and scaling, but does not see colours or a single changed digit. The *thumbnail*
then decides: 12 x 12 values of brightness and 6 x 6 of each colour difference. Its pixels are weighted means of overlapping regions, so
compression and scaling change them by a few levels only, while another digit or another colour changes a few of them by many.

Only integers are used: Pillow resizes 8-bit images in fixed-point arithmetic, and so is the cosine transform here. Libraries compute it in
floating point, whose last bit differs between machines. That decides bits of blank images and drawings, whose coefficients are equal.
Here, they are integers below 2^45 in float64, which represents them, their products and their sums in any order exactly.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

_SIDE = 64  # pixels of the square that is transformed
_FREQUENCIES = 16  # lowest frequencies along each axis
_COSINE_BITS = 12
_LUMA, _CHROMA = 12, 6  # sides of the thumbnail

HASH_BYTES = _FREQUENCIES * _FREQUENCIES // 8
THUMBNAIL_BYTES = _LUMA * _LUMA + 2 * _CHROMA * _CHROMA
FINGERPRINT_BYTES = HASH_BYTES + THUMBNAIL_BYTES
"""Size of a fingerprint: the hash, then the thumbnail."""


def fingerprint(image: Image) -> bytes:
    """Return the fingerprint of an image in :data:`FINGERPRINT_BYTES` bytes, the same on every machine."""
    from PIL.Image import Resampling

    colours = image.convert("RGB")
    grey = colours.convert("L")
    # The triangle filter weights neighbouring regions, so a line on their border does not jump from one into the other.
    luma = grey.resize((_LUMA, _LUMA), Resampling.BILINEAR).tobytes()
    chroma = colours.resize((_CHROMA, _CHROMA), Resampling.BILINEAR).convert("YCbCr").tobytes()
    return _hash(np.asarray(grey.resize((_SIDE, _SIDE), Resampling.BILINEAR))) + luma + chroma[1::3] + chroma[2::3]


def _hash(pixels: NDArray[np.uint8]) -> bytes:
    cosines = _cosines()
    coefficients = (cosines @ pixels.astype(np.float64) @ cosines.T).ravel()
    # The first coefficient is the mean brightness, which says nothing about the content.
    median = np.partition(coefficients[1:], len(coefficients) // 2)[len(coefficients) // 2]
    return np.packbits(coefficients > median).tobytes()


@cache
def _cosines() -> NDArray[np.float64]:
    """Return the rows of the cosine transform [frequencies, side], in fixed point: integers up to 4,096."""
    # Rounding hides the last bit of cos(), in which machines differ; no value lies near the middle between two integers.
    rows = [
        [round(math.cos(math.pi * k * (2 * n + 1) / (2 * _SIDE)) * (1 << _COSINE_BITS)) for n in range(_SIDE)]
        for k in range(_FREQUENCIES)
    ]
    return np.array(rows, dtype=np.float64)
