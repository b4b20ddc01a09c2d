"""Image files from the cells of a row: bytes, base64 text, file names, PIL images and arrays."""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicur.config.serving import ModelLimits
from vicur.data.images import normalised, source_size
from vicur.errors import VicurError
from vicur.registry.served.files import LONGEST_NAME, FileRefusedError, Files

if TYPE_CHECKING:
    from PIL import Image

REMEDY = "Pass base64 text, the bytes of an image file, a PIL image, a uint8 array, or the name of a file in the folder of images."
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Modes that PNG stores as they are, and those for which TIFF does.
_PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
_TIFF_MODES = ("CMYK",)


class PixelBudget:
    """Pixels that the images of one request may still have; without a limit if ``pixels`` is ``None``."""

    def __init__(self, pixels: int | None) -> None:
        self._limit = self._left = pixels

    def take(self, pixels: int) -> None:
        """Count the pixels of an image.

        Raises:
            ValueError: if the request has no more.
        """
        if self._left is None:
            return
        if pixels > self._left:
            raise ValueError(f"the images of the request have more than {self._limit:,} pixels (max_request_pixels)")
        self._left -= pixels


def stored_image(cell: object, files: Files, limits: ModelLimits, budget: PixelBudget) -> bytes:
    """Return the image of a cell in the form of stored images (:mod:`vicur.data.images`).

    Raises:
        ValueError: if it is not an image, or larger than the limits.
        UnusableImageError: if the file is damaged or of another format.
    """
    return normalised(checked_image(cell, files, limits, budget), limits.max_image_pixels).data


def checked_image(cell: object, files: Files, limits: ModelLimits, budget: PixelBudget) -> bytes:
    """Return the image file of a cell whose size is within the limits. It is not decoded.

    Raises:
        ValueError: as :func:`stored_image`.
        UnusableImageError: if the header cannot be read.
    """
    data = image_file(cell, files, limits)
    # The header is enough to reject a decompression bomb.
    width, height = source_size(data)
    require_pixels(width, height, limits)
    budget.take(width * height)
    return data


def require_pixels(width: int, height: int, limits: ModelLimits) -> None:
    """Raise a ``ValueError`` if an image of this size has too many pixels."""
    if width * height > limits.max_image_pixels:
        raise ValueError(
            f"has {width:,} x {height:,} pixels, but at most {limits.max_image_pixels:,} are allowed (max_image_pixels)"
        )


def image_file(cell: object, files: Files, limits: ModelLimits) -> bytes:
    """Return the encoded file (of an image or a video) for a cell.

    Raises:
        ValueError: if the cell is of another type, is larger than the limits, or names no file.
    """
    if isinstance(cell, bytes | bytearray | memoryview):
        return _sized(bytes(cell), limits)
    if isinstance(cell, os.PathLike):
        if not files.path_objects:
            raise FileRefusedError("is a path, but this server opens no files")
        return files.read(Path(cell), limits.max_image_bytes)
    if isinstance(cell, str):
        return _of_text(cell, files, limits)
    if type(cell).__module__.split(".")[0] == "numpy" and hasattr(cell, "dtype"):
        return _of_array(cell, limits)
    if hasattr(cell, "mode") and hasattr(cell, "save") and hasattr(cell, "size"):
        return _of_picture(cell, limits)
    raise ValueError(f"{type(cell).__name__} is not an image")


def _sized(data: bytes, limits: ModelLimits) -> bytes:
    if len(data) > limits.max_image_bytes:
        raise ValueError(f"has more than {limits.max_image_bytes:,} bytes (max_image_bytes)")
    return data


def _of_text(text: str, files: Files, limits: ModelLimits) -> bytes:
    # A data URI has a media type before the comma and base64 text after it.
    if text[:5].lower() == "data:":
        kind, comma, encoded = text.partition(",")
        if not comma or not kind.lower().endswith(";base64"):
            raise ValueError("is a data: URL without base64 text")
        return _decoded(encoded, limits)
    if _ADDRESS.match(text[:64]):
        raise ValueError("is an address, and addresses are not fetched")
    if len(text) < LONGEST_NAME and (path := files.find(text)) is not None:
        return files.read(path, limits.max_image_bytes)
    searched = files.folder is not None and len(text) < LONGEST_NAME
    return _decoded(text, limits, "names no file in the folder of images, and is not base64 text" if searched else "")


def _decoded(text: str, limits: ModelLimits, otherwise: str = "") -> bytes:
    # Before decoding. Line breaks of wrapped text count as well, a seventieth of it.
    if len(text) > limits.max_image_bytes * 4 // 3 + limits.max_image_bytes // 50 + 4:
        raise ValueError(f"has more than {limits.max_image_bytes:,} bytes (max_image_bytes)")
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(otherwise or "is not base64 text") from error
    if not data:
        raise ValueError("is empty")
    return _sized(data, limits)


def _of_array(array: Any, limits: ModelLimits) -> bytes:
    from PIL import Image

    shape = tuple(int(side) for side in array.shape)
    channels = shape[2:] or (1,)
    if str(array.dtype) != "uint8" or len(shape) not in (2, 3) or channels[0] not in (1, 3, 4) or 0 in shape:
        raise ValueError(
            f"is an array of {array.dtype} with shape {shape}, but must be uint8 with shape (height, width), (height, width, 3) or "
            "(height, width, 4)"
        )
    require_pixels(shape[1], shape[0], limits)
    squeezed = array.reshape(shape[:2]) if channels == (1,) else array
    return _of_picture(Image.fromarray(squeezed), limits)


def _of_picture(picture: Any, limits: ModelLimits) -> bytes:
    """Return a PIL image as a file that is read like any other: turned as its EXIF data say, and in sRGB."""
    image: Image.Image = picture
    require_pixels(*image.size, limits)
    if 0 in image.size:
        raise ValueError("has no pixels")
    buffer = io.BytesIO()
    try:
        if image.mode not in (*_PNG_MODES, *_TIFF_MODES):
            if image.mode in ("I", "F"):
                raise ValueError(f"has the mode {image.mode}, whose range is not known; convert it to L or RGB")
            image = image.convert("RGBA" if "A" in image.mode or "a" in image.mode else "RGB")
        settings = {"compress_level": 1} if image.mode in _PNG_MODES else {}
        exif = picture.getexif()
        if exif:
            settings["exif"] = exif
        image.save(buffer, "PNG" if image.mode in _PNG_MODES else "TIFF", **settings)
    except VicurError:
        raise
    except Exception as error:  # decoders of lazily opened files raise arbitrary exceptions
        raise ValueError(f"cannot be read ({error or type(error).__name__})") from error
    return buffer.getvalue()
