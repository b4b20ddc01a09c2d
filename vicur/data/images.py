"""The one form in which images are stored and read: a PNG or JPEG of 8 bits a channel that every reader decodes to the same pixels.

:func:`normalised` brings an image file of an untrusted source into this form, as a person sees it: rotated as its EXIF data say, on white
where it is transparent, with 16 bits scaled to 8, and its colours in sRGB. ``vicur data prepare`` calls it once, and the servers call it
for the images of requests. All later readers (student, teacher, cue model, report) decode stored bytes with :func:`plain_image`, which
refuses any other form. So they cannot differ in what they do about rotation, transparency or colour.

A file in this form is kept byte for byte. Any other is written as a PNG without metadata, compressed by run lengths only (``Z_RLE``):
zlib 1.2.13 and zlib-ng 2.3 write the same bytes then, although their searches for matches differ. What remains is Pillow's choice of a
filter for each row, and the arithmetic of its decoders, so the bytes depend on Pillow's release, which constraints.txt pins.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vicur.data.fingerprint import fingerprint
from vicur.data.image_cost import costly_header, costly_pixels
from vicur.data.image_signatures import REPLACE, described

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
"""Formats of sources, by Pillow's names; a JPEG may hold several pictures (MPO). Pillow's other decoders are not run on untrusted files:
some start programs."""
PLAIN_FORMATS = ("PNG", "JPEG")
"""Formats of stored images."""
MAX_ASPECT = 200  # largest ratio of the sides that Qwen3-VL's image processor accepts
MAX_BYTES = 256 << 20
"""Largest image file in bytes."""

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_RUN_LENGTHS = 3  # zlib's Z_RLE
# The first 33 bytes of a PNG: signature, and the chunk IHDR with size, depth, colour type, compression, filter, interlacing and checksum.
_PNG_HEADER = struct.Struct(">8sI4sIIBBBBBI")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _RGB = 0, 2  # colour types of a PNG
_COMMON_PIXELS = 1 << 26  # below Pillow's own limit
# Reasons why an image is not in the stored form.
_TURNED = "turned by its EXIF data"
_PROFILE = "colours of another profile than sRGB"


class UnusableImageError(ValueError):
    """An image that cannot be used, with the reason and a remedy."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class NormalisedImage:
    """An image in the stored form. ``notes`` say what was changed or left out, in words that are the same for the same change."""

    data: bytes
    width: int
    height: int
    notes: tuple[str, ...] = ()
    fingerprint: bytes | None = None
    """Fingerprint by which near-duplicates are found (:mod:`vicur.data.fingerprint`), if one was requested."""


def normalised(data: bytes, max_pixels: int, *, fingerprints: bool = False) -> NormalisedImage:
    """Decode an image file completely and return it in the stored form, without a copy if it already has that form.

    Args:
        fingerprints: whether to compute the fingerprint as well, for which the image need not be decoded again.

    Raises:
        UnusableImageError: if the file is damaged, of another format, or larger than ``max_pixels``, or one side is more than
            :data:`MAX_ASPECT` times the other.
    """
    if len(data) > MAX_BYTES:
        raise UnusableImageError(f"has {len(data):,} bytes, but at most {MAX_BYTES:,} are allowed", "Scale it down.")
    _require_cheap_header(data)
    with _faults(data, max_pixels), warnings.catch_warnings():
        # max_pixels replaces Pillow's own limit, at half of which it warns. Decoders also warn about metadata that are not used.
        warnings.simplefilter("ignore")
        return _normalised(data, max_pixels, fingerprints)


def source_size(data: bytes) -> tuple[int, int]:
    """Return width and height of an image file of any of :data:`FORMATS` from its header, as it is stored: not turned by its EXIF data.

    Raises:
        UnusableImageError: if the header is not that of such a file.
    """
    _require_cheap_header(data)
    with _faults(data), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _opened(data, FORMATS) as image:
            return image.size


def _require_cheap_header(data: bytes) -> None:
    if (refusal := costly_header(data)) is not None:
        raise UnusableImageError(*refusal)


def plain_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a stored image from its header, without decoding it.

    Raises:
        UnusableImageError: if the header is not that of an image in the stored form.
    """
    if (size := _common_size(data)) is not None:
        return size
    with _faults(data), _opened(data, PLAIN_FORMATS) as image:
        _require_plain(image)
        return image.size


def _common_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG in the stored form whose pixels follow its header, as most do; ``None`` for any other file.

    Pillow takes fifty times as long to open it, which counts where a million headers are read.
    """
    if len(data) < _PNG_HEADER.size + 8:
        return None
    signature, length, kind, width, height, depth, colours, *rest, checksum = _PNG_HEADER.unpack_from(data)
    if (signature, length, kind, depth) != (_PNG_SIGNATURE, 13, b"IHDR", 8) or colours not in (_GRAY, _RGB):
        return None
    plain = rest == [0, 0, 0] and data[37:41] == b"IDAT" and zlib.crc32(data[12:29]) == checksum
    return (width, height) if plain and 0 < width * height <= _COMMON_PIXELS else None


def plain_image(data: bytes) -> Image.Image:
    """Decode a stored image to RGB.

    Raises:
        UnusableImageError: if it is damaged or not in the stored form.
    """
    with _faults(data), _opened(data, PLAIN_FORMATS) as image:
        _require_plain(image)
        image.load()
        if _is_turned(image):  # a PNG may have its EXIF data after the pixels
            raise _not_stored(_TURNED)
        return image.convert("RGB")


def require_plain(data: bytes, max_pixels: int) -> None:
    """Verify a stored image completely.

    Raises:
        UnusableImageError: if it is damaged, too large, or not in the stored form.
    """
    if (found := normalised(data, max_pixels)).data is not data:
        raise _not_stored("; ".join(found.notes))


def media_type(data: bytes) -> str:
    """Return the media type of a stored image."""
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


def encode_plain(image: Image.Image) -> bytes:
    """Write an image of mode ``L`` or ``RGB`` as a PNG without metadata."""
    image.info.clear()  # Pillow would write profiles, resolution and comments
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6, compress_type=_RUN_LENGTHS)
    return buffer.getvalue()


def scaled_down(data: bytes, max_pixels: int | None) -> bytes:
    """Return a stored image with at most ``max_pixels`` pixels, in the same proportions; unchanged if it has no more, or without a limit.

    Raises:
        UnusableImageError: as :func:`plain_image`.
    """
    from PIL import Image

    if max_pixels is None:
        return data
    width, height = plain_size(data)
    if width * height <= max_pixels:
        return data
    ratio = math.sqrt(max_pixels / (width * height))
    size = max(1, math.floor(width * ratio)), max(1, math.floor(height * ratio))
    # Bicubic, as Qwen3-VL's image processor.
    return encode_plain(plain_image(data).resize(size, Image.Resampling.BICUBIC))


def _normalised(data: bytes, max_pixels: int, fingerprints: bool) -> NormalisedImage:
    from vicur.data.image_colours import differs_from_srgb, to_plain_colours

    with _opened(data, FORMATS) as image:
        _require_sizes(image, data, max_pixels)
        reason = _header_reason(image) or (_PROFILE if differs_from_srgb(image) else None)
        if reason is None:
            image.verify()
    if reason is None:
        # verify() only reads the structure, and leaves the image unusable. Decoding also detects truncated or garbled pixels.
        with _opened(data, PLAIN_FORMATS) as image:
            image.load()
            if not _is_turned(image):
                return NormalisedImage(data, *image.size, fingerprint=fingerprint(image) if fingerprints else None)
    with _opened(data, FORMATS) as image:
        notes = [_frames_note(image)] if getattr(image, "is_animated", False) else []
        plain, changes = to_plain_colours(_upright(image, notes), _bit_depth(data))
    notes += changes
    if not notes:
        notes.append(reason or f"{image.format} file")
    mark = fingerprint(plain) if fingerprints else None
    return NormalisedImage(encode_plain(plain), *plain.size, tuple(notes), mark)


def _bit_depth(data: bytes) -> int:
    """Return the bits per channel of a PNG, and 8 for any other file."""
    return data[24] if data[12:16] == b"IHDR" else 8


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    """Return the decoded image, turned as its EXIF data say."""
    from PIL import ImageOps

    before = _orientation(image)
    image.load()  # turns a TIFF
    if _orientation(image) == 1:
        if before != 1:
            notes.append("rotated")
        return image
    notes.append("rotated")
    return ImageOps.exif_transpose(image)


def _orientation(image: Image.Image) -> int:
    # Viewers show an image with unreadable EXIF data as it is stored. Such data raise arbitrary exceptions.
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001
        return 1
    return value if value in range(2, 9) else 1


def _frames_note(image: Image.Image) -> str:
    match image.format:
        case "TIFF":
            return "several pages: the first is used"
        case "MPO":
            return "several pictures: the first is used"
        case _:
            return "animated: the first frame is used"


def _require_sizes(image: Image.Image, data: bytes, max_pixels: int) -> None:
    # The header is enough to reject a decompression bomb.
    width, height = image.size
    if width * height > max_pixels:
        raise UnusableImageError(
            f"has {width} x {height} pixels, but at most {max_pixels} are allowed",
            "Scale it down, or raise data.max_pixels.",
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnusableImageError(
            f"has {width} x {height} pixels, but one side may be at most {MAX_ASPECT} times the other",
            "Crop or pad it.",
        )
    if (refusal := costly_pixels(image, data)) is not None:
        raise UnusableImageError(*refusal)


def _require_plain(image: Image.Image) -> None:
    if (reason := _header_reason(image)) is not None:
        raise _not_stored(reason)


def _not_stored(reason: str) -> UnusableImageError:
    return UnusableImageError(
        f"is not in the form of stored images ({reason})", "Prepare the dataset again with this release."
    )


def _header_reason(image: Image.Image) -> str | None:
    """Return why the header is not that of the stored form, or ``None``."""
    if image.format not in PLAIN_FORMATS:
        return f"{image.format} file"
    if getattr(image, "is_animated", False):
        return "animated"
    if "transparency" in image.info:
        return "transparent"
    # The layout of a PNG's samples, before Pillow converts them: L;2 and RGB;16B have the modes L and RGB too.
    tiles = getattr(image, "tile", [])
    layout = tiles[0].args if image.format == "PNG" and tiles else image.mode
    if image.mode not in ("L", "RGB") or layout != image.mode:
        return f"pixels of type {layout}"
    # A PNG's EXIF data may follow its pixels. Asking for them would decode it.
    return _TURNED if image.format == "JPEG" and _is_turned(image) else None


def _is_turned(image: Image.Image) -> bool:
    return _orientation(image) != 1


def _opened(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    from PIL import Image

    # A build of Pillow may lack AVIF or WebP.
    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in formats if name in Image.OPEN])


@contextmanager
def _faults(data: bytes, max_pixels: int | None = None) -> Iterator[None]:
    """Convert whatever a decoder raises to :class:`UnusableImageError`."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except UnusableImageError:
        raise
    except Image.DecompressionBombError:
        allowed = "" if max_pixels is None else f"; at most {max_pixels} are allowed"
        raise UnusableImageError(f"has too many pixels to be decoded safely{allowed}", "Scale it down.") from None
    except UnidentifiedImageError:
        raise UnusableImageError(*described(data)) from None
    except Exception as error:  # decoders raise arbitrary exceptions for damaged files
        raise UnusableImageError(f"is a damaged image ({error or type(error).__name__})", REPLACE) from error
