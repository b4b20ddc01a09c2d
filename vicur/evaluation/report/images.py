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
    from vicur.data.images import UnusableImageError, media_type, plain_image

    try:
        shown = plain_image(encoded)
    except UnusableImageError:
        return None
    # Small PNGs keep their bytes: JPEG artifacts would show once the pixels are enlarged.
    if max(shown.size) <= _TINY and media_type(encoded) == "image/png":
        return PageImage(_uri("png", encoded), *shown.size, pixelated=True)
    shown.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=82)
    return PageImage(_uri("jpeg", buffer.getvalue()), *shown.size, pixelated=False)


def _uri(kind: str, encoded: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode('ascii')}"
