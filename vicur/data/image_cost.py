"""Images whose decoding costs far more than their bytes and pixels say, as an attacker makes them: reasons to refuse them unread.

Pillow reads headers in Python, and takes a fixed time for things that a file may repeat as often as it likes: chunks, markers, blocks,
tags, bytes of a comment or of padding. They are counted here before it opens the file. Files that programs write stay far below the limits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_MAX_PARTS = 10_000
"""Parts of a header, of any kind."""
# Parts with pixels are as small as an encoder's buffer: those of the largest files are some ten thousand.
_MAX_PIXEL_PARTS = 200_000
_MAX_TABLES = 1 << 16  # bytes of a JPEG's tables
_MAX_SLOW_PIXELS = 1 << 20
# Scans of a progressive JPEG. Encoders write about ten; each one takes the time of a whole image, however few bytes it has.
_MAX_SCANS = 100

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IDAT", b"fdAT")
_START_OF_SCAN, _TABLES = 0xDA, (0xC4, 0xDB)
_LONE_MARKERS = (0x00, 0x01, *range(0xD0, 0xD9))  # without a length
_GIF_EXTENSION, _GIF_IMAGE, _GIF_END = 0x21, 0x2C, 0x3B
# The header of a Netpbm file is text, in which comments of any length may stand.
_NETPBM = re.compile(rb"P[1-7fy][\s#]")
_COMMENT = re.compile(rb"#[^\r\n]*")
_MAX_TEXT_HEADER = 1 << 16
_HEADER_WORDS = 4

Refusal = tuple[str, str]
"""What an image has, and the remedy."""
_SAVE_AGAIN = "Save it again."
_TOO_MANY: Refusal = (f"has a header of more than {_MAX_PARTS} parts, which takes long to read", _SAVE_AGAIN)


def costly_header(data: bytes) -> Refusal | None:
    """Return why a file must not even be opened, or ``None``."""
    if data.startswith(_PNG_SIGNATURE):
        return _of_png(data)
    if data.startswith(b"\xff\xd8"):
        return _of_jpeg(data)
    if data.startswith(b"GIF8"):
        return _of_gif(data)
    if data[:2] in (b"II", b"MM"):
        return _of_tags(data)
    if _NETPBM.match(data) and len(data) > _MAX_TEXT_HEADER:
        head = _COMMENT.sub(b"", data[:_MAX_TEXT_HEADER])
        if len(head.split(maxsplit=_HEADER_WORDS)) < _HEADER_WORDS:
            return f"has a header of more than {_MAX_TEXT_HEADER} bytes", _SAVE_AGAIN
    return None


def _of_png(data: bytes) -> Refusal | None:
    place, parts, pixels = len(_PNG_SIGNATURE), 0, 0
    while place + 8 <= len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if kind in _PNG_PIXELS:
            pixels += 1
        else:
            parts += 1
        if parts > _MAX_PARTS or pixels > _MAX_PIXEL_PARTS:
            return _TOO_MANY
        if kind == b"eXIf" and (refusal := _of_tags(data[place + 8 : place + 8 + length])) is not None:
            return refusal
        # Length, name and checksum take 12 bytes.
        place += 12 + length
    return None


def _of_jpeg(data: bytes) -> Refusal | None:
    place, parts, tables = 2, 0, 0
    while place + 4 <= len(data):
        parts += 1
        # Pillow skips bytes that are no marker, and padding before one, byte by byte.
        start = place
        while place < len(data) and data[place] != 0xFF and place - start <= _MAX_PARTS:
            place += 1
        while place + 1 < len(data) and data[place + 1] == 0xFF and place - start <= _MAX_PARTS:
            place += 1
        parts += place - start
        marker, length = data[place + 1 : place + 2], int.from_bytes(data[place + 2 : place + 4], "big")
        kind = marker[0] if marker else _START_OF_SCAN
        tables += length if kind in _TABLES else 0
        if parts > _MAX_PARTS or tables > _MAX_TABLES:
            return _TOO_MANY
        if kind == _START_OF_SCAN:
            break
        place += 2 if kind in _LONE_MARKERS else 2 + max(length, 2)
    # Resources of Photoshop, of which one segment may have thousands.
    return _TOO_MANY if data.count(b"8BIM", 0, place) > _MAX_PARTS else None


def _of_gif(data: bytes) -> Refusal | None:
    """Count the blocks up to the second frame, which is looked for to know whether there is one."""
    place, parts, frames = 13 + _palette(data[10:11]), 0, 0
    while place < len(data) and frames < 2:
        kind = data[place]
        if kind == _GIF_END:
            break
        place, most = place + 1, _MAX_PARTS
        if kind == _GIF_IMAGE:
            frames, most = frames + 1, _MAX_PIXEL_PARTS
            # A position and size, flags, a palette, and a byte before the pixels.
            place += 10 + _palette(data[place + 8 : place + 9])
        elif kind == _GIF_EXTENSION:
            place += 1
        blocks = 0
        while kind in (_GIF_EXTENSION, _GIF_IMAGE) and place < len(data) and (size := data[place]):
            place, blocks = place + 1 + size, blocks + 1
            if blocks > most:
                return _TOO_MANY
        place += kind in (_GIF_EXTENSION, _GIF_IMAGE)
        parts += 1 + (blocks if kind == _GIF_EXTENSION else 0)
        if parts > _MAX_PARTS:
            return _TOO_MANY
    return None


def _palette(flags: bytes) -> int:
    return 3 << (flags[0] % 8 + 1) if flags and flags[0] & 0x80 else 0


def _of_tags(data: bytes) -> Refusal | None:
    """Count the tags of the first directory of a TIFF file, or of EXIF data, which have the same form."""
    order = "little" if data[:2] == b"II" else "big"
    is_big = int.from_bytes(data[2:4], order) == 43  # type: ignore[arg-type]
    at, width, size = (8, 8, 8) if is_big else (4, 4, 2)
    start = int.from_bytes(data[at : at + width], order)  # type: ignore[arg-type]
    return _TOO_MANY if int.from_bytes(data[start : start + size], order) > _MAX_PARTS else None  # type: ignore[arg-type]


def costly_pixels(image: Image.Image, data: bytes) -> Refusal | None:
    """Return why the pixels or the EXIF data of an opened file must not be decoded, or ``None``."""
    from PIL import Image

    if image.format in ("JPEG", "MPO") and (scans := data.count(bytes((0xFF, _START_OF_SCAN)))) > _MAX_SCANS:
        return f"has {scans} scans, each of which is decoded as a whole image", _SAVE_AGAIN
    exif = image.info.get("exif")
    if isinstance(exif, bytes) and (refusal := _of_tags(exif.removeprefix(b"Exif\0\0"))) is not None:
        return refusal
    # Pillow has a few decoders in Python: for run lengths of a BMP, and for a PPM as text or with another maximum than 255.
    slow = any(tile[0] in Image.DECODERS for tile in getattr(image, "tile", ()))
    if slow and image.width * image.height > _MAX_SLOW_PIXELS:
        return (
            f"has {image.width} x {image.height} pixels, but at most {_MAX_SLOW_PIXELS} are decoded in this rare form of {image.format}",
            "Save it as a PNG.",
        )
    return None
