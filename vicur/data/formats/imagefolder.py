"""Hugging Face's imagefolder: images, and ``metadata.jsonl``, ``metadata.csv`` or ``metadata.parquet`` in a folder above them.

    train/metadata.jsonl    {"file_name": "a.png", "question": "...", "answer": "..."}
    train/a.png             several images: "images_file_names": ["a.png", "b.png"]

Paths are relative to the file of metadata. Without metadata, the folders may be classes (``train/cat/1.jpg``): the class is the answer to
the question that ``data.question`` sets. What a class has may also be videos (``jump/1.mp4``), or folders of frames:

    train/jump/clip_7/frame_0001.jpg  frame_0002.jpg     one video of the class "jump"

Folders of images are frames if all of them have images that are numbered one after the other, like frames are, and lie in the folders of at
least two classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vicur.config.data import ImportConfig
from vicur.data.formats.base import UNIT_ROWS, Format, Recognised, Record, Unit
from vicur.data.formats.readers import reader_of
from vicur.data.formats.registry import register
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault
from vicur.data.splitting import file_split
from vicur.errors import VicurError

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_VIDEOS = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v")
_FRAME = re.compile(r"(?P<name>(?:.*[^\d])?)(?P<number>\d+)\.\w+")
_FRAMES_SAID = (
    "Folders of numbered images are read as the frames of one video each, below the folder of its class. Set video in data.fields to [] if "
    "they are images of classes."
)
_NO_QUESTION = "data.question sets the question whose answer is the name of the folder"


@register
class ImageFolderFormat(Format):
    """Images with metadata, or in folders of classes."""

    name = "imagefolder"
    description = (
        "Hugging Face's imagefolder: metadata.jsonl or .csv with file_name, or folders of classes (data.question)"
    )

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        found = _metadata(folder, config)
        if found:
            return Recognised(found)
        if config.question and (classes := _classes(folder, config)):
            is_frames = any(
                not name.lower().endswith((*_IMAGES, *_VIDEOS)) for names in classes.values() for name in names
            )
            return Recognised(list(classes), unsure=(_FRAMES_SAID,) if is_frames else ())
        return None

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        found = _metadata(folder, config)
        if found:
            return [
                unit
                for name in found
                for unit in reader_of(name).file_units(folder, name, file_split(name, config.splits))
            ]
        classes = _classes(folder, config)
        if not classes or not config.question:
            raise VicurError(
                "has neither metadata.jsonl nor metadata.csv"
                + (f", but folders of images: {_NO_QUESTION}." if classes else "."),
                where=str(folder.path),
                remedy='Write metadata.jsonl with file_name, question and answer, or set data.question="What is shown?".',
            )
        return [
            Unit(
                file=place,
                first=first,
                end=min(first + UNIT_ROWS, len(names) + 1),
                split=file_split(f"{place}/", config.splits),
            )
            for place, names in classes.items()
            for first in range(1, len(names) + 1, UNIT_ROWS)
        ]

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:
        if unit.file.rpartition("/")[2] not in _METADATA:
            names = _classes(folder, config)[unit.file][unit.first - 1 : unit.end - 1]
            for number, name in enumerate(names, start=unit.first):
                is_image = name.lower().endswith(_IMAGES)
                row = {
                    "question": config.question,
                    "answer": unit.file.rpartition("/")[2],
                    **({"images": [name]} if is_image else {"video": name}),
                    "id": name,
                }
                yield Record(unit.file, number, row, unit.split)
            return
        for record in reader_of(unit.file).records(folder, unit, config):
            columns = record.columns
            yield Record(
                record.file,
                record.row,
                columns if isinstance(columns, Fault) else _with_images(columns, unit.file.rpartition("/")[0]),
                record.split,
            )


def _metadata(folder: SourceFolder, config: ImportConfig) -> list[str]:
    files = folder.ending(".jsonl", ".csv", ".parquet", patterns=config.files)
    return [name for name in files if name.rpartition("/")[2] in _METADATA]


def _classes(folder: SourceFolder, config: ImportConfig) -> dict[str, list[str]]:
    """Return the images and videos of each class by its folder. A video is a file or a folder of frames."""
    images: dict[str, list[str]] = {}
    videos: dict[str, list[str]] = {}
    for name in folder.ending(*_IMAGES, *_VIDEOS, patterns=config.files):
        place = name.rpartition("/")[0]
        if place:
            (images if name.lower().endswith(_IMAGES) else videos).setdefault(place, []).append(name)
    if config.fields.get("video") != () and _are_frames(images):
        for place in images:
            videos.setdefault(place.rpartition("/")[0], []).append(place)
        images = {}
    return {place: images.get(place, []) + videos.get(place, []) for place in sorted(images.keys() | videos.keys())}


def _are_frames(images: Mapping[str, list[str]]) -> bool:
    """Return whether folders of images are videos: their images are numbered frames, and the folders above them several classes."""
    above = {place.rpartition("/")[0] for place in images}
    classes = {name.rpartition("/")[2] for name in above if name}
    are_classes = len(classes) > 1 and "" not in above and not any(file_split(f"{each}/", {}) for each in classes)
    return are_classes and all(_is_sequence(names) for names in images.values())


def _is_sequence(names: list[str]) -> bool:
    """Return whether files are numbered one after the other, with the same name before and as many digits in each number."""
    found = [_FRAME.fullmatch(name.rpartition("/")[2]) for name in names]
    if len(names) < 2 or not all(found):
        return False
    matches = [match for match in found if match is not None]
    numbers = sorted(int(match["number"]) for match in matches)
    step = numbers[1] - numbers[0]
    is_even = step > 0 and numbers == list(range(numbers[0], numbers[-1] + 1, step))
    same_name = len({match["name"] for match in matches}) == 1
    # Frames have leading zeros or a name before the number; "1.jpg" and "2.jpg" are any images.
    return is_even and same_name and (bool(matches[0]["name"]) or len({len(match["number"]) for match in matches}) == 1)


def _with_images(columns: Mapping[str, Any], beside: str) -> Mapping[str, Any] | Fault:
    """Return a row with the images that ``file_name``, ``*_file_name`` and ``*_file_names`` name, in the order of the columns."""
    names = [
        name for name in columns if name in ("file_name", "file_names") or name.endswith(("_file_name", "_file_names"))
    ]
    if not names:
        return Fault(
            field="file_name",
            reason="is missing",
            remedy="Name the image of the row, relative to the file of metadata.",
        )
    images: list[Any] = []
    for name in names:
        value = columns[name]
        images += value if isinstance(value, list) else [] if value in (None, "") else [value]
    placed = [f"{beside}/{image}" if beside and isinstance(image, str) else image for image in images]
    return {**{key: value for key, value in columns.items() if key not in names}, "images": placed}
