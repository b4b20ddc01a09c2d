"""The video of a row: the path of a file, its bytes, a folder of frames, or a list of frames."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vicur.config.video import VideoConfig
from vicur.data.formats.archives import Member
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.paths import open_regular, why
from vicur.data.row_images import below_the_source, encoded_image, found_path
from vicur.data.schema import UnusableRowError
from vicur.data.video import SampledVideo, UnusableVideoError, sampled_file, sampled_images
from vicur.errors import VicurError
from vicur.wording import listed

_FRAMES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_MOST_FRAMES = 100_000  # files in a folder of frames, or items of a list
_LONGEST_NAME = 1024
_SHOWN = 80
_DIGITS = re.compile(r"(\d+)")
_REMEDY = "Write the path of a video file or of a folder of frames, relative to the source."


def video_of(value: Any, folder: SourceFolder, file: str, config: VideoConfig, max_pixels: int) -> SampledVideo:
    """Return the frames of the video that a row of ``file`` has.

    Raises:
        UnusableRowError: if it cannot be used.
    """
    fps = None
    if isinstance(value, Mapping) and "frames" in value:
        value, fps = value["frames"], _rate(value.get("fps"))
    if isinstance(value, list) and len(value) == 1 and not _is_frame(value[0]):
        value = value[0]
    try:
        if isinstance(value, list):
            return sampled_images(_listed(value, folder, file), config, max_pixels, fps)
        return _single(value, folder, file, config, max_pixels)
    except UnusableVideoError as fault:
        raise UnusableRowError("video", f"{_name(value)} {fault.reason}", fault.remedy) from fault


def _single(value: Any, folder: SourceFolder, file: str, config: VideoConfig, max_pixels: int) -> SampledVideo:
    if isinstance(value, Mapping):
        # The form of Hugging Face's datasets.
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, bytes):
        return sampled_file(value, config, max_pixels)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise UnusableRowError("video", "is neither a path nor a list of frames", _REMEDY)
    if value[:5].lower() == "data:":
        return sampled_file(encoded_image(value, "video", folder, file)[0], config, max_pixels)
    name = below_the_source(value, "video", folder)
    found = found_path(name, folder, file, "video") or _frame_folder(name, folder)
    if found is not None and (frames := folder.archives.members_of(found)):
        return sampled_images(_archived(frames, folder), config, max_pixels)
    if found is not None and folder.archives.shown(found) is not None:
        return sampled_file(encoded_image(found, "video", folder, file)[0], config, max_pixels)
    path = _located(found or name, folder)
    if path.is_dir():
        return sampled_images(_files(path, folder), config, max_pixels)
    try:
        # The decoding process opens the file again; this finds what is not a file without starting it.
        open_regular(path).close()
    except FileNotFoundError:
        raise UnusableRowError(
            "video", f"the file {_name(value)} does not exist", "Add the file, or correct its path."
        ) from None
    except (OSError, ValueError) as error:
        raise UnusableRowError("video", f"{_name(value)} {why(error)}", "Correct the file or its path.") from error
    return sampled_file(path, config, max_pixels)


def is_frame_folder(value: Any, folder: SourceFolder, file: str) -> bool:
    """Return whether a value names a folder of several images, where an image could be named."""
    if not isinstance(value, str) or not 0 < len(value.strip()) <= _LONGEST_NAME or value.lower().endswith(_FRAMES):
        return False
    try:
        found = found_path(value, folder, file, "video") or _frame_folder(value, folder)
        if found is None:
            return False
        files = folder.archives.members_of(found) or folder.locate(found).iterdir()
        return sum(each.name.lower().endswith(_FRAMES) for each in files) > 1
    except (UnusableRowError, VicurError, OSError, ValueError):
        return False


def _frame_folder(name: str, folder: SourceFolder) -> str | None:
    """Return the only folder with this ending, on disk or in an archive.

    Raises:
        UnusableRowError: if there are several.
    """
    found = folder.folders_named(name.replace("\\", "/").removeprefix("./").rstrip("/"))
    if len(found) > 1:
        raise UnusableRowError(
            "video", f"{name!r} could be {listed(found, 3, ' or ')}", "Write the path relative to the folder."
        )
    return found[0] if found else None


def _archived(members: list[Member], folder: SourceFolder) -> list[Callable[[], bytes]]:
    shown = [each.shown for each in members if each.name.lower().endswith(_FRAMES)]
    _require_few(len(shown))
    shown = sorted((each for each in shown if not each.rpartition("/")[2].startswith(".")), key=_natural)
    return [partial(_frame, each, number, folder, "") for number, each in enumerate(shown)]


def _located(name: str, folder: SourceFolder) -> Path:
    try:
        return folder.locate(name)
    except VicurError as error:
        raise UnusableRowError("video", error.problem.rstrip("."), error.remedy) from error


def _files(path: Path, folder: SourceFolder) -> list[Callable[[], bytes]]:
    """Return functions that read the images of a folder, in natural order (``frame_2.jpg`` before ``frame_10.jpg``)."""
    try:
        names = [entry.name for entry in os.scandir(path) if entry.name.lower().endswith(_FRAMES)]
    except OSError as error:
        raise UnusableVideoError(why(error), "Correct the folder or its permissions.") from error
    names = sorted((name for name in names if not name.startswith(".")), key=_natural)
    _require_few(len(names))
    inside = path.relative_to(folder.path).as_posix()
    return [partial(_frame, f"{inside}/{name}", number, folder, "") for number, name in enumerate(names)]


def _listed(values: list[Any], folder: SourceFolder, file: str) -> list[Callable[[], bytes]]:
    _require_few(len(values))
    if values and not all(map(_is_frame, values)):
        raise UnusableRowError("video", "has several videos", "Ask about one video per row.")
    return [partial(_frame, value, number, folder, file) for number, value in enumerate(values)]


def _frame(value: Any, number: int, folder: SourceFolder, file: str) -> bytes:
    return encoded_image(value, f"video[{number}]", folder, file)[0]


def _is_frame(value: Any) -> bool:
    """Return whether an item of a list may be an image: not the path of a video."""
    if isinstance(value, Mapping):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, bytes):
        from vicur.data.video.decoding import container_format

        return container_format(value[:12]) in (None, "gif")
    return isinstance(value, str) and (value.lower().endswith(_FRAMES) or value[:11].lower() == "data:image/")


def _rate(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1000:
        raise UnusableRowError("video", "has frames whose fps is not a number above 0", "Write frames per second.")
    return float(value)


def _require_few(count: int) -> None:
    if count > _MOST_FRAMES:
        raise UnusableVideoError(f"has {count:,} frames, but at most {_MOST_FRAMES:,} are read", "Cut it into parts.")


def _name(value: Any) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("path"), str):
        value = value["path"]
    if not isinstance(value, str):
        return "the video in the row"
    return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")


def _natural(name: str) -> list[tuple[bool, int, str]]:
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in _DIGITS.split(name)]
