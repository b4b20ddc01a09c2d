"""Unusable and hostile image files are rejected with the reason, before they cost memory or time."""

import random
import time
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.data.conftest import png
from tests.data.image_files import LIMIT, noise, saved, with_chunk
from vicur.data.images import (
    UnusableImageError,
    normalised,
    require_plain,
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is an empty file"),
        (b"hello", "is not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64, "is a HEIC photo, which Pillow does not read"),
        (b"\0\0\0\x18ftypisom" + b"\0" * 64, "is a video"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "is a pointer of Git LFS"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is a PDF or PostScript"),
        *((saved(noise((80, 80)), each)[:-300], "is a damaged image") for each in ("PNG", "JPEG", "BMP", "TIFF")),
        (saved(noise((80, 80)).convert("RGBA"))[:-300], "is a damaged image"),
        (saved(noise((80, 80)), "WEBP")[:-300], "image"),
        (saved(noise((80, 80)), "GIF")[:-300], "is a damaged image"),
    ],
)
def test_unusable_files_are_rejected_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnusableImageError, match=reason):
        normalised(data, LIMIT)


def test_a_large_image_is_rejected_before_it_is_decoded() -> None:
    whole = png(40_000, 1)
    # PNG's header: the length and name of the chunk, width and height, five bytes more, and their checksum.
    header = b"IHDR" + (20_000).to_bytes(4, "big") * 2 + whole[24:29]
    bomb = whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:]
    with pytest.raises(UnusableImageError, match="too many pixels to be decoded safely; at most 1000000 are allowed"):
        normalised(bomb, LIMIT)
    with pytest.raises(UnusableImageError, match="has 11 x 10 pixels, but at most 100 are allowed"):
        normalised(png(11, 10), max_pixels=100)


def test_an_image_of_extreme_aspect_ratio_is_rejected() -> None:
    normalised(png(400, 2), max_pixels=10_000)
    with pytest.raises(UnusableImageError, match="402 x 2 pixels, but one side may be at most 200 times the other"):
        normalised(png(402, 2), max_pixels=10_000)


def test_text_that_unpacks_to_gigabytes_is_rejected() -> None:
    text = b"key\0\0" + zlib.compress(b"\0" * (80 << 20))
    with pytest.raises(UnusableImageError, match="is a damaged image"):
        normalised(with_chunk(saved(noise()), b"zTXt", text), LIMIT)


def test_a_jpeg_of_many_scans_is_rejected() -> None:
    data = saved(noise(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(UnusableImageError, match="scans"):
        normalised(data[:-2] + scan * 1000 + data[-2:], LIMIT)


def test_a_gif_of_many_frames_costs_no_more_than_its_first() -> None:
    first = Image.new("P", (500, 500))
    frames = saved(
        first, "GIF", save_all=True, append_images=[Image.new("P", (500, 500), n % 256) for n in range(1, 400)]
    )
    start = time.perf_counter()
    normalised(frames, LIMIT)
    assert time.perf_counter() - start < 0.5


@given(st.binary(max_size=200), st.integers(0, 60))
def test_garbage_raises_no_other_error(garbage: bytes, place: int) -> None:
    with suppress(UnusableImageError):
        normalised(png()[:place] + garbage, max_pixels=1000)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "MPO", "AVIF", "PPM"])
def test_garbled_files_raise_no_other_error(format_) -> None:
    draw, whole = random.Random(0), bytearray(saved(noise(), format_))  # noqa: S311
    for _ in range(60):
        garbled = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            garbled[draw.randrange(len(garbled))] = draw.randrange(256)
        with suppress(UnusableImageError):
            require_plain(normalised(bytes(garbled), 10_000).data, 10_000)
