"""What a file is that is not an image, by its first bytes."""

from __future__ import annotations

REPLACE = "Replace the file by an intact PNG or JPEG."
_CONVERT = "Convert it to PNG or JPEG."

# What a file is that no decoder takes: the place of its signature, the signature, its description and a remedy.
_OTHERS: tuple[tuple[int, tuple[bytes, ...], str, str], ...] = (
    (
        4,
        (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"),
        "is a HEIC photo, which Pillow does not read",
        f"{_CONVERT[:-1]}, for example with heif-convert.",
    ),
    (4, (b"ftyp",), "is a video or another media file", "Name an image."),
    (0, (b"version https://git-lfs",), "is a pointer of Git LFS, not the image itself", "Run git lfs pull."),
    (0, (b"<svg", b"<?xml"), "is an SVG or XML document", "Render it to PNG."),
    (0, (b"<!doctype html", b"<html"), "is a web page, not an image", "Download the image itself."),
    (0, (b"%pdf", b"%!ps"), "is a PDF or PostScript document", "Render it to PNG."),
    (0, (b"8bps",), "is a Photoshop document", _CONVERT),
    (0, (b"\x00\x00\x00\x0cjp", b"\xff\x4f\xff\x51"), "is a JPEG 2000 file", _CONVERT),
    (0, (b"\xff\x0a", b"\x00\x00\x00\x0cjxl"), "is a JPEG XL file", _CONVERT),
)


def described(data: bytes) -> tuple[str, str]:
    """Return what a file is that no decoder takes, and a remedy."""
    if not data:
        return "is an empty file", REPLACE
    head = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for place, signatures, reason, remedy in _OTHERS:
        if head[place:].startswith(signatures):
            return reason, remedy
    return "is not an image", REPLACE
