"""Images for the report as data URIs, small enough to mail."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

# Sides in pixels. Images up to _TINY are enlarged without smoothing; those above _LARGEST are scaled down.
_TINY, _LARGEST = 128, 512


@dataclass(frozen=True)
class PageImage:
    """An image to embed in the page. ``pixelated`` images are so small that they are enlarged without smoothing."""

    uri: str
    width: int
    height: int
    pixelated: bool


def page_image(encoded: bytes) -> PageImage | None:
    """Return an encoded image for the page, or ``None`` if it cannot be decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
            # Small PNGs keep their bytes: JPEG artifacts would show once the pixels are enlarged.
            if max(width, height) <= _TINY and image.format == "PNG":
                return PageImage(_uri("png", encoded), width, height, pixelated=True)
            shown = image.convert("RGB")
            shown.thumbnail((_LARGEST, _LARGEST))
    # Pillow raises all of these for damaged or oversized files.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=82)
    return PageImage(_uri("jpeg", buffer.getvalue()), *shown.size, pixelated=False)


def _uri(kind: str, encoded: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode('ascii')}"
