"""Images in the page: data URIs, small enough to mail."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

# Images up to this many pixels a side are drawn large, pixel by pixel; bigger ones are scaled down to the other limit.
_TINY, _LARGEST = 128, 512


@dataclass(frozen=True)
class PageImage:
    """An image that can stand in the page.

    Attributes:
        uri: its bytes.
        width: width in pixels.
        height: height in pixels.
        pixelated: whether it is so small that its pixels should be seen.
    """

    uri: str
    width: int
    height: int
    pixelated: bool


def page_image(encoded: bytes) -> PageImage | None:
    """An encoded image for the page; ``None`` where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
            if max(width, height) <= _TINY and image.format == "PNG":
                return PageImage(_uri("png", encoded), width, height, pixelated=True)
            shown = image.convert("RGB")
            shown.thumbnail((_LARGEST, _LARGEST))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=82)
    return PageImage(_uri("jpeg", buffer.getvalue()), *shown.size, pixelated=False)


def _uri(kind: str, encoded: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode('ascii')}"
