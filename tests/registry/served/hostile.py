"""Image files as an attacker makes them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"
SVG = b"""<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd"><!ENTITY b "&a;&a;">]>
<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:1/x"/><text>&b;</text></svg>"""


def png(width: int, height: int, data: bytes, *chunks: tuple[bytes, bytes], depth: int = 8, kind: int = 0) -> bytes:
    """Return a PNG with any header and any compressed data."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return _PNG + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def saved(image: Image.Image, format_: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **settings)
    return buffer.getvalue()


def gif(frames: int) -> bytes:
    header = b"GIF89a" + struct.pack("<HH", 1, 1) + b"\x80\0\0" + bytes(6)
    return header + (b"," + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x4c\x01\0") * frames + b";"


def _exif_bomb() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    exif[0x0112] = 6
    return saved(Image.new("RGB", (64, 32)), "JPEG", exif=exif)


def _tiff_loop() -> bytes:
    # The second directory is followed by the first.
    entries = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 200)]
    entries += [(277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, 64)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *each) for each in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 8) + bytes(500)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "144 megapixels": (lambda: saved(Image.new("1", (12_000, 12_000)), "PNG"), "12,000 x 12,000 pixels"),
    "header only": (lambda: png(65_000, 65_000, zlib.compress(b"")), "too many pixels"),
    "zero size": (lambda: png(0, 0, zlib.compress(b"")), "image"),
    "negative size": (lambda: png(0xFFFFFFFF, 0x80000001, zlib.compress(b"")), "image"),
    "thin": (lambda: saved(Image.new("L", (16_000, 1)), "PNG"), "200 times the other"),
    "truncated": (lambda: saved(Image.new("RGB", (999, 999)), "JPEG")[:300], "damaged"),
    "text bomb": (
        lambda: png(8, 8, zlib.compress(bytes(72)), (b"zTXt", b"a\0\0" + zlib.compress(bytes(200 << 20), 9))),
        "damaged",
    ),
    "svg": (lambda: SVG, "SVG"),
    "html": (lambda: b"<html><script>alert(1)</script></html>", "not an image"),
    "zip": (lambda: b"PK\x03\x04" + bytes(100), "not an image"),
    "pickle": (lambda: b"\x80\x04cos\nsystem\n(S'id'\ntR.", "not an image"),
    "eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n", "image"),
    "many chunks": (lambda: png(8, 8, zlib.compress(bytes(72)), *[(b"tEXt", b"a\0b")] * 300_000), "10000 parts"),
    "padding": (lambda: b"\xff\xd8" + b"\xff" * (10 << 20), "10000 parts"),
    "comment": (lambda: b"P6\n#" + b"x" * (10 << 20), "header of more than 65536 bytes"),
    "pixels as text": (lambda: b"P3 2000 1700 255\n" + b"1 " * 10_200_000, "rare form of PPM"),
    "tags": (lambda: b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 300_000) + bytes(6_000_000), "10000 parts"),
    "scans": (
        lambda: saved(Image.new("RGB", (64, 64)), "JPEG", progressive=True) + b"\xff\xda" * 200,
        "scans",
    ),
}
READ: dict[str, Callable[[], bytes]] = {
    "million frames": lambda: gif(1_000_000),
    "animated": lambda: saved(
        Image.new("RGB", (9, 9)), "PNG", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")] * 20
    ),
    "exif": _exif_bomb,
    "looping pages": _tiff_loop,
    "polyglot": lambda: saved(Image.new("RGB", (32, 32)), "PNG") + b"<script>alert(1)</script>PK\x03\x04",
    "16 megapixels": lambda: saved(Image.new("RGBA", (4096, 4096), (1, 2, 3, 4)), "PNG"),
}
