"""Layouts whose files are single JSON documents, often with questions, answers and images in separate places."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from vicur.config.data import ImportConfig
from vicur.config.formats import FIELD_NAMES, FieldName, FormatName
from vicur.data.formats.base import UNIT_ROWS, Format, Recognised, Record, Unit
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault
from vicur.data.splitting import file_split
from vicur.errors import VicurError

UNEXPECTED = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""Errors of a layout whose row has values of other types than the layout's."""
LARGEST = 2 << 30  # bytes; a document is held in memory
FIELDS: Mapping[FieldName, tuple[str, ...]] = {name: (name,) for name in FIELD_NAMES}
"""Our fields by their own names: the layouts write rows with them."""


class DocumentLayout(Format):
    """A layout of JSON documents. Subclasses define which files hold rows, and the rows of each."""

    columns: ClassVar[Mapping[FieldName, tuple[str, ...]]] = FIELDS
    refines: ClassVar[tuple[FormatName, ...]] = ("imagefolder",)

    @abstractmethod
    def data_files(self, folder: SourceFolder) -> list[str]:
        """Return the files that hold rows in this layout. Only beginnings of files are read."""

    @abstractmethod
    def rows(self, folder: SourceFolder, name: str) -> Iterator[Mapping[str, Any] | Fault]:
        """Yield the rows of a file in order, with our fields."""

    def left_out(self, folder: SourceFolder) -> Mapping[str, str]:  # noqa: ARG002
        """Return the reason why a file of this layout is not read, by its name."""
        return {}

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        found = self._files(folder, config)
        return Recognised(found, left_out=self.left_out(folder)) if found else None

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        found = self._files(folder, config)
        if not found:
            raise VicurError(
                f"has no files of the layout {self.name}: {self.description}.",
                where=str(folder.path),
                remedy="Name the folder that has them, or set data.format=auto.",
            )
        units = []
        for name in found:
            count = sum(1 for _ in self._checked_rows(folder, name))
            split = file_split(name, config.splits)
            units += [
                Unit(file=name, first=first, end=min(first + UNIT_ROWS, count + 1), split=split)
                for first in range(1, count + 1, UNIT_ROWS)
            ]
        return units

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        rows = islice(self._checked_rows(folder, unit.file), unit.first - 1, unit.end - 1)
        for number, columns in enumerate(rows, start=unit.first):
            yield Record(unit.file, number, columns, unit.split)

    def _checked_rows(self, folder: SourceFolder, name: str) -> Iterator[Mapping[str, Any] | Fault]:
        number = 0
        try:
            for row in self.rows(folder, name):
                number += 1
                yield row
        except UNEXPECTED as error:
            # A generator ends at its first error, so the rows below cannot be read.
            raise VicurError(
                f"does not have the layout {self.name} ({type(error).__name__}: {error}).",
                where=f"{folder.path / name}:row {number + 1}",
                remedy="Correct or remove the row, or set data.format to the file's layout.",
            ) from error

    def _files(self, folder: SourceFolder, config: ImportConfig) -> list[str]:
        chosen = set(folder.matching(config.files)) if config.files else None
        return [name for name in self.data_files(folder) if chosen is None or name in chosen]


def document(folder: SourceFolder, name: str) -> Any:
    """Return a JSON document. The last ones are kept, because several units read the same.

    Raises:
        VicurError: if it is not JSON, or too large to be held in memory.
    """
    size = folder.size(name)
    if size > LARGEST:
        raise VicurError(
            f"has {size >> 20} MiB, but a JSON document may have {LARGEST >> 20} MiB.",
            where=str(folder.path / name),
            remedy="Divide it, or write its rows as JSON lines (docs/formats.md).",
        )
    return _document(folder.path, name, size, (folder.path / name).stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _document(path: Path, name: str, size: int, time: int) -> Any:  # noqa: ARG001
    with SourceFolder(path).open(name) as stream:
        data = stream.read()
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise VicurError(
            f"is not a JSON document ({error}).", where=str(path / name), remedy="Fetch or write the file again."
        ) from error


def listed_rows(value: Any, field: str) -> Sequence[Any]:
    """Return a list of a document, or raise an error if it is another value."""
    if not isinstance(value, list):
        raise VicurError(
            f"has no list {field!r}.", where=field, remedy="Fetch the file again, or set data.format to its layout."
        )
    return value


def as_object(row: Any) -> Mapping[str, Any] | Fault:
    """Return a row if it is a JSON object, or a fault."""
    if isinstance(row, dict):
        return row
    return Fault(field="", reason=f"is a JSON {type(row).__name__}, not an object", remedy="Write one JSON object.")


def file_named(folder: SourceFolder, *names: str) -> str:
    """Return the path of the image with one of these endings of its path, or the first name if there is none, for the message."""
    for name in names:
        found = folder.named(name)
        if len(found) == 1 or (found and name in found):
            return name if name in found else found[0]
    return names[0]
