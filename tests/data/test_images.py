import io
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.data.conftest import png
from vicur.data.images import UnusableImageError, check_image


def _saved(format_: str, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(buffer, format_)
    return buffer.getvalue()


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_png_and_jpeg_are_accepted(format_: str) -> None:
    check_image(_saved(format_), max_pixels=64)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is an empty file"),
        (b"hello", "is not an image"),
        (_saved("GIF"), "is a GIF file"),
        (_saved("PNG", (80, 80))[:-300], "is a damaged image"),
        (_saved("JPEG", (80, 80))[:-300], "is a damaged image"),
    ],
)
def test_unusable_files_are_rejected_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnusableImageError, match=reason):
        check_image(data, max_pixels=10_000)


def test_a_large_image_is_rejected_before_it_is_decoded() -> None:
    whole = png(40_000, 1)
    # PNG's header: the length and name of the chunk, width and height, five bytes more, and their checksum.
    header = b"IHDR" + (20_000).to_bytes(4, "big") * 2 + whole[24:29]
    bomb = whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:]
    with pytest.raises(UnusableImageError, match="too many pixels to be decoded safely; at most 1000000 are allowed"):
        check_image(bomb, max_pixels=1_000_000)
    with pytest.raises(UnusableImageError, match="has 11 x 10 pixels, but at most 100 are allowed"):
        check_image(png(11, 10), max_pixels=100)


def test_an_image_of_extreme_aspect_ratio_is_rejected() -> None:
    check_image(png(400, 2), max_pixels=10_000)
    with pytest.raises(UnusableImageError, match="402 x 2 pixels, but one side may be at most 200 times the other"):
        check_image(png(402, 2), max_pixels=10_000)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_garbage_raises_no_other_error(garbage: bytes, place: int) -> None:
    with suppress(UnusableImageError):
        check_image(png()[:place] + garbage, max_pixels=1000)
