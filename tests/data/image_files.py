"""Image files for tests of :mod:`vicur.data.images`."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from vicur.data.images import normalised, plain_image

LIMIT = 1_000_000


def saved(image: Image.Image, format_: str = "PNG", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **settings)
    return buffer.getvalue()


def noise(size: tuple[int, int] = (24, 16), mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(
        mode
    )


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(plain_image(normalised(data, LIMIT).data)).astype(int)


def with_chunk(data: bytes, kind: bytes, content: bytes, *, before: bytes = b"IDAT") -> bytes:
    place = data.index(before) - 4
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data[:place] + chunk + data[place:]
