"""Small files whose header or pixels would take Pillow seconds per megabyte are refused before it opens them."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from PIL import Image

from tests.data.image_files import noise, saved
from vicur.data.images import UnusableImageError, normalised, source_size

MANY = 300_000
MOST_PIXELS = 16 << 20
TINY = Image.new("RGB", (64, 64))
JPEG, GIF = saved(TINY, "JPEG"), saved(TINY.convert("P"), "GIF")
TEXT = struct.pack(">I", 3) + b"tEXta\0b" + struct.pack(">I", zlib.crc32(b"tEXta\0b"))


def tags(count: int) -> bytes:
    """Return a BigTIFF file, or EXIF data, of one directory of tags."""
    return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, count) + struct.pack("<HHQQ", 40_000, 1, 1, 1) * count + bytes(8)


def run_lengths() -> bytes:
    body = b"\x01\x00" * (2048 * 2048)
    header = struct.pack("<IiiHHIIiiII", 40, 2048, 2048, 1, 8, 1, len(body), 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + bytes(1024) + body


COSTLY: dict[str, Callable[[], bytes]] = {
    "PNG texts": lambda: saved(TINY).replace(b"\0\0\0\0IEND", TEXT * MANY + b"\0\0\0\0IEND"),
    "PNG EXIF tags": lambda: saved(TINY, exif=b"Exif\0\0" + tags(MANY)),
    "JPEG comments": lambda: JPEG[:2] + b"\xff\xfe\0\x02" * MANY + JPEG[2:],
    "JPEG padding": lambda: JPEG[:2] + b"\xff" * 3 * MANY + JPEG[3:],
    "JPEG tables": lambda: JPEG[:2] + (b"\xff\xdb\0\x43\0" + b"\x01" * 64) * 9999 + JPEG[2:],
    "JPEG resources": lambda: (
        JPEG[:2] + (b"\xff\xed\xea\x60Photoshop 3.0\0" + (b"8BIM\4\4" + bytes(6)) * 4999)[:60_002] * 9 + JPEG[2:]
    ),
    "GIF comment": lambda: GIF[:13] + b"!\xfe" + b"\1a" * MANY + b"\0" + GIF[13:],
    "GIF extensions": lambda: GIF[:13] + b"!\xfe\1a\0" * MANY + GIF[13:],
    "GIF bytes between blocks": lambda: GIF[:13] + bytes(MANY) + GIF[13:],
    "GIF pixels": lambda: GIF[:-2] + b"\1a" * MANY + b"\0" + GIF[-1:],
    "TIFF tags": lambda: tags(MANY),
    "WebP EXIF tags": lambda: saved(TINY, "WEBP", exif=b"Exif\0\0" + tags(MANY)),
    "PPM comment": lambda: b"P6\n#" + b"x" * 3_000_000 + b"\n4 4 255\n" + bytes(48),
    "PPM comments": lambda: b"P6\n" + b"#x\n" * MANY + b"\n4 4 255\n" + bytes(48),
    "PPM as text": lambda: b"P3 2000 1700 255\n" + b"1 " * 10_200_000,
    "PPM of another maximum": lambda: b"P6 2000 2000 254\n" + bytes(12_000_000),
    "BMP run lengths": run_lengths,
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_file_that_costs_seconds_is_refused_at_once(name: str) -> None:
    data = COSTLY[name]()
    began = time.process_time()
    with suppress(UnusableImageError):
        source_size(data)
    with pytest.raises(UnusableImageError, match=r"header of more than|rare form"):
        normalised(data, MOST_PIXELS)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("format_", "settings"),
    [
        ("PNG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
        ("JPEG", {"progressive": True, "icc_profile": bytes(300_000), "comment": b"made by hand"}),
        ("JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
        ("GIF", {"save_all": True, "append_images": [noise((300, 300)), noise((300, 300))], "comment": b"x" * 9000}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
        ("BMP", {}),
        ("PPM", {}),
    ],
)
def test_files_as_programs_write_them_are_read(format_: str, settings: dict[str, object]) -> None:
    image = noise((700, 700))
    found = normalised(saved(image, format_, **settings), MOST_PIXELS)
    assert (found.width, found.height) == (700, 700)


def test_a_header_that_ends_early_is_no_error_of_ours() -> None:
    for data in (JPEG, GIF, saved(TINY), saved(TINY, "TIFF"), tags(3), b"P6\n4 4 255\n" + bytes(48)):
        for length in (*range(60), len(data) - 1):
            with pytest.raises(UnusableImageError):
                normalised(data[: min(length, len(data) - 20)], MOST_PIXELS)
