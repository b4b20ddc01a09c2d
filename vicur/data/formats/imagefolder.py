"""Hugging Face's imagefolder: images, and ``metadata.jsonl``, ``metadata.csv`` or ``metadata.parquet`` in a folder above them.

    train/metadata.jsonl    {"file_name": "a.png", "question": "...", "answer": "..."}
    train/a.png             several images: "images_file_names": ["a.png", "b.png"]

Paths are relative to the file of metadata. Without metadata, the folders may be classes (``train/cat/1.jpg``): the class is the answer to
the question that ``data.question`` sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vicur.config.data import ImportConfig
from vicur.data.formats.base import UNIT_ROWS, Format, Recognised, Record, Unit
from vicur.data.formats.registry import register
from vicur.data.formats.row_layout import row_records, row_units
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault
from vicur.data.splitting import file_split
from vicur.errors import VicurError

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
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
            return Recognised(list(classes))
        return None

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        found = _metadata(folder, config)
        if found:
            return [unit for name in found for unit in row_units(folder, name, file_split(name, config.splits))]
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
                image = {
                    "question": config.question,
                    "answer": unit.file.rpartition("/")[2],
                    "images": [name],
                    "id": name,
                }
                yield Record(unit.file, number, image, unit.split)
            return
        for record in row_records(folder, unit):
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
    """Return the images of each folder that has some, except for the source's own."""
    found: dict[str, list[str]] = {}
    for name in folder.ending(*_IMAGES, patterns=config.files):
        place = name.rpartition("/")[0]
        if place:
            found.setdefault(place, []).append(name)
    return found


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
