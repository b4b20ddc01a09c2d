"""Images of a row: paths, bytes, ``{"bytes", "path"}``, base64, data URLs, and S3 addresses below the source."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from vicur.data.formats.archives import ArchiveError
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.images import MAX_BYTES, NormalisedImage, UnusableImageError, normalised
from vicur.data.paths import open_regular, why
from vicur.data.row_values import literal
from vicur.data.schema import UnusableRowError
from vicur.errors import VicurError
from vicur.wording import listed

LARGEST_FILE = MAX_BYTES
# Beginnings of PNG, JPEG, GIF, BMP, TIFF and WebP files.
_MAGIC = (b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
_LONGEST_PATH = 1024
_LONGEST_LIST = 1 << 16  # characters of a list of names
_MOST_NAMES = 64
_SEPARATORS = "|;"
_SHORTEST_BASE64 = 64
_SHOWN = 80
# Of files that rows name without them.
_IMAGE_ENDINGS, _VIDEO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp"), (".mp4", ".webm", ".mkv", ".avi", ".mov")
_WHAT = {"video": "video"}  # what a field holds, in messages; otherwise an image
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+={0,2}\s*")
_DATA_URL = re.compile(r"data:(?P<kind>[\w.+/-]*)(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def images_of(
    value: Any, folder: SourceFolder, file: str, max_pixels: int, *, fingerprints: bool = False
) -> tuple[NormalisedImage, ...]:
    """Return the images of a row of ``file`` in the form of stored images, on request with their fingerprints.

    Raises:
        UnusableRowError: naming the image that cannot be used.
    """
    value = _listed(value, folder, file)
    items = value if isinstance(value, list) else [value]
    # Several columns, each of which may have several images.
    items = [each for item in items for each in (item if isinstance(item, list) else [item])]
    found = []
    for place, item in enumerate(items):
        field = f"images[{place}]" if isinstance(value, list) else "images"
        data, name = encoded_image(item, field, folder, file)
        try:
            found.append(_stored(data, max_pixels, fingerprints))
        except UnusableImageError as fault:
            raise UnusableRowError(field, f"{name} {fault.reason}", fault.remedy) from fault
    return tuple(found)


# Consecutive questions are often about one image, which is then decoded once.
@lru_cache(maxsize=4)
def _stored(data: bytes, max_pixels: int, fingerprints: bool) -> NormalisedImage:
    return normalised(data, max_pixels, fingerprints=fingerprints)


def _listed(value: Any, folder: SourceFolder, file: str) -> Any:
    """Return the images that a text lists, as the cell of a CSV file does: ``["a.png", "b.png"]``, ``a.png|b.png`` or ``a.png; b.png``."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("[") and len(text) <= _LONGEST_LIST and isinstance(found := literal(text), list):
        return found
    if not any(separator in text for separator in _SEPARATORS):
        return value
    if len(text) > _LONGEST_PATH * _MOST_NAMES or _DATA_URL.match(text) or _is_file(text, folder, file):
        return value
    for separator in _SEPARATORS:
        parts = [part.strip() for part in text.split(separator)]
        # One that exists shows that the text is a list, so that the others are reported by their names.
        if 1 < len(parts) <= _MOST_NAMES and all(parts) and any(_is_file(part, folder, file) for part in parts):
            return parts
    return value


def _is_file(name: str, folder: SourceFolder, file: str) -> bool:
    try:
        return len(name) <= _LONGEST_PATH and found_path(name, folder, file, "images") is not None
    except UnusableRowError:  # several files have this name
        return True


def encoded_image(item: Any, field: str, folder: SourceFolder, file: str) -> tuple[bytes, str]:
    """Return the bytes of an image file, and a name for it in messages.

    Raises:
        UnusableRowError: if there is no such file.
    """
    if isinstance(item, Mapping):
        # The form of Hugging Face's datasets.
        item = item.get("path") if item.get("bytes") is None else item["bytes"]
    if isinstance(item, bytes):
        return item, "the image in the row"
    if not isinstance(item, str) or not item.strip():
        raise UnusableRowError(field, "is not a path", "Write the path of an image file relative to the folder.")
    if match := _DATA_URL.match(item):
        return _decoded(item[match.end() :], field), "the image in the row"
    if item[:5].lower() == "data:":
        raise UnusableRowError(field, "is a data URL without base64", "Write data:image/png;base64,...")
    item = below_the_source(item, field, folder)
    path = found_path(item, folder, file, field) if len(item) <= _LONGEST_PATH else None
    if path is None and len(item) >= _SHORTEST_BASE64 and _BASE64.fullmatch(item):
        return _decoded(item, field), "the image in the row"
    return _read(path or item, item, field, folder), repr(_shortened(item))


def _decoded(text: str, field: str) -> bytes:
    try:
        # Both alphabets, with or without line breaks and padding.
        compact = re.sub(r"\s+", "", text).rstrip("=").replace("-", "+").replace("_", "/")
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnusableRowError(field, f"is not valid base64 ({error})", "Encode the image file again.") from error


def below_the_source(address: str, field: str, folder: SourceFolder) -> str:
    """Return the path of a file that is named by its S3 address, relative to the source. Other paths stay the same.

    Raises:
        UnusableRowError: if the address is not below the source.
    """
    match = _ADDRESS.match(address)
    if match is None:
        return address
    scheme = match["scheme"].lower()
    if folder.address and address.startswith(f"{folder.address}/"):
        return address.removeprefix(f"{folder.address}/")
    shown = repr(_shortened(address))
    if scheme in ("http", "https"):
        raise UnusableRowError(
            field,
            f"{shown} is a web address, which is not fetched",
            f"Download the {_WHAT.get(field, 'image')} into the folder, and write its path.",
        )
    raise UnusableRowError(
        field,
        f"{shown} is not below the source",
        f"Write the path of the {_WHAT.get(field, 'image')} relative to the source, and put it there.",
    )


def found_path(name: str, folder: SourceFolder, file: str, field: str) -> str | None:
    """Return the path of a file that a row of ``file`` names: relative to the source, to the file, or the only one with this ending.

    Raises:
        UnusableRowError: if several files have this ending.
    """
    beside = file.rpartition("/")[0]
    # Some datasets write a slash before a path that is relative to their folder of images.
    names = dict.fromkeys(each for path in (name, name.replace("\\", "/")) for each in (path, path.lstrip("/")) if each)
    for each in names:
        for place in (each, f"{beside}/{each}" if beside else each):
            try:
                if folder.exists(place):
                    return place
            except (VicurError, OSError, ValueError):
                # Reported by _read(), unless another place has the file.
                continue
    wanted = name.replace("\\", "/").removeprefix("./").lstrip("/")
    same_ending = folder.named(wanted)
    if not same_ending and "." not in wanted.rpartition("/")[2]:
        # An id, such as 000000123 for 000000123.jpg.
        endings = _VIDEO_ENDINGS if field == "video" else _IMAGE_ENDINGS
        same_ending = [each for ending in endings for each in folder.named(f"{wanted}{ending}")]
    if len(same_ending) > 1 and beside:
        # Each split may have a folder of images with the same names.
        below = [each for each in same_ending if each.startswith(f"{beside}/")]
        same_ending = below if len(below) == 1 else same_ending
    if len(same_ending) > 1:
        raise UnusableRowError(
            field, f"{name!r} could be {listed(same_ending, 3, ' or ')}", "Write the path relative to the folder."
        )
    return same_ending[0] if same_ending else None


def _read(path: str, name: str, field: str, folder: SourceFolder) -> bytes:
    shown = repr(_shortened(name))
    try:
        if (member := folder.archives.shown(path)) is not None:
            folder.note(member.archive)  # it may have been opened for another unit
            data = folder.archives.read(member, LARGEST_FILE)
        else:
            with open_regular(folder.locate(path)) as stream:
                data = stream.read(LARGEST_FILE + 1)
    except ArchiveError as error:
        raise UnusableRowError(field, f"{shown} {error}", "Unpack the archive, and check the image.") from error
    except VicurError as error:
        raise UnusableRowError(field, error.problem.rstrip("."), error.remedy) from error
    except FileNotFoundError:
        unread = "; ".join(f"{archive} {reason}" for archive, reason in folder.archives.unread.items())
        raise UnusableRowError(
            field,
            f"the file {shown} does not exist{f' ({_shortened(unread)})' if unread else ''}",
            "Unpack the archive beside it." if unread else "Add the file, or correct its path.",
        ) from None
    except (OSError, ValueError) as error:
        raise UnusableRowError(field, f"{shown} {why(error)}", "Correct the file or its path.") from error
    if len(data) > LARGEST_FILE:
        raise UnusableRowError(field, f"{shown} is larger than {LARGEST_FILE >> 20} MiB", "Scale it down.")
    return data


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def is_image(value: Any, folder: SourceFolder, file: str) -> bool:
    """Return whether a value names or contains something that looks like an image. It is not decoded."""
    value = _listed(value, folder, file)
    item = value[0] if isinstance(value, list) and value else value
    if isinstance(item, str) and item[:11].lower() == "data:image/":
        return True
    if isinstance(item, str) and (len(item) > _LONGEST_PATH or "." not in item):
        return False
    try:
        data, _ = encoded_image(item, "images", folder, file)
    except UnusableRowError:
        return False
    return data.startswith(_MAGIC)
