"""A PNG encoder whose bytes depend only on the pixels.

Deflate leaves choices to the encoder, and zlib, zlib-ng and releases of Pillow differ in them. Here pixels are stored uncompressed:
filter 0 on every row, and stored deflate blocks. Small noisy images would hardly compress anyway.
Format: https://www.w3.org/TR/png-3/ and RFC 1950/1951.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LARGEST_STORED_BLOCK = 0xFFFF


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a uint8 RGB image of shape [height, width, 3].

    Raises:
        ValueError: for any other shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != "uint8" or 0 in pixels.shape:
        raise ValueError(f"expected uint8 [height, width, 3], not {pixels.dtype} {list(pixels.shape)}")
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB, no interlace
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", _stored_zlib(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _stored_zlib(data: bytes) -> bytes:
    parts = [b"\x78\x01"]  # deflate with a window of 32 KiB, no preset dictionary
    for start in range(0, len(data), _LARGEST_STORED_BLOCK):
        block = data[start : start + _LARGEST_STORED_BLOCK]
        last = start + len(block) == len(data)
        # A stored block starts with a flag, its length, and the complement of its length.
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join([*parts, struct.pack(">I", zlib.adler32(data))])
