"""Layouts whose files are single JSON documents, often with questions, answers and images in separate places."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from vicur.config.data import ImportConfig
from vicur.config.formats import FIELD_NAMES, FieldName, FormatName
from vicur.data.formats.base import UNIT_ROWS, Format, Recognised, Record, Unit
from vicur.data.formats.beginnings import kept_by_file, outline
from vicur.data.formats.json_values import not_an_object, repeated_key
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault, UnusableRowError
from vicur.data.splitting import file_split
from vicur.errors import VicurError

UNEXPECTED = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""Errors of a layout whose row has values of other types than the layout's."""
LARGEST = 2 << 30  # bytes; a document is held in memory
FIELDS: Mapping[FieldName, tuple[str, ...]] = {name: (name,) for name in FIELD_NAMES}
"""Our fields by their own names: the layouts write rows with them."""
_LAYOUT = "Correct the row, or set data.format to the file's layout."


class DocumentLayout(Format):
    """A layout of JSON documents. Subclasses define which files hold rows, the entries of each, and the row of an entry."""

    columns: ClassVar[Mapping[FieldName, tuple[str, ...]]] = FIELDS
    refines: ClassVar[tuple[FormatName, ...]] = ("imagefolder",)

    @abstractmethod
    def data_files(self, folder: SourceFolder) -> list[str]:
        """Return the files that hold rows in this layout. Only beginnings of files are read."""

    @abstractmethod
    def entries(self, folder: SourceFolder, name: str) -> Sequence[Any]:
        """Return what becomes a row each, in the order of the file. It is called for each unit, so it must be quick.

        Raises:
            VicurError: if the document as a whole has another layout.
        """

    @abstractmethod
    def row(self, folder: SourceFolder, name: str, entry: Any) -> Mapping[str, Any] | Sequence[Mapping[str, Any]]:
        """Return an entry with our fields; a list if it has several questions, which then have ids of their own.

        Values of unexpected types may raise any error in :data:`UNEXPECTED`.

        Raises:
            UnusableRowError: with the reason, if the entry cannot be used.
        """

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
            end = len(self.entries(folder, name)) + 1
            split = file_split(name, config.splits)
            units += [
                Unit(file=name, first=first, end=min(first + UNIT_ROWS, end), split=split)
                for first in range(1, end, UNIT_ROWS)
            ]
        return units

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        entries = self.entries(folder, unit.file)[unit.first - 1 : unit.end - 1]
        for number, entry in enumerate(entries, start=unit.first):
            for columns in self._questions(folder, unit.file, entry):
                yield Record(unit.file, number, columns, unit.split)

    def _questions(self, folder: SourceFolder, name: str, entry: Any) -> Sequence[Mapping[str, Any] | Fault]:
        try:
            found = self.row(folder, name, entry)
        except UnusableRowError as error:
            return [error.fault]
        except UNEXPECTED as error:
            return [unexpected(self.name, error)]
        return [found] if isinstance(found, Mapping) else found

    def _files(self, folder: SourceFolder, config: ImportConfig) -> list[str]:
        chosen = set(folder.matching(config.files)) if config.files else None
        return [name for name in self.data_files(folder) if chosen is None or name in chosen]


class RepeatedKeys(dict[str, Any]):
    """A JSON object with a key that occurs twice, of which ``json`` would silently keep the last value."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def unexpected(layout: str, error: Exception) -> Fault:
    """Return the fault of a row whose values have other types than those of its layout."""
    return Fault(
        field="", reason=f"does not have the layout {layout} ({type(error).__name__}: {error})", remedy=_LAYOUT
    )


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
    return _document(folder, name)


@kept_by_file(2)
def _document(folder: SourceFolder, name: str) -> Any:
    with folder.open(name) as stream:
        data = stream.read()
    try:
        # Bytes that are not UTF-8 become lone surrogates, with which only their row is unusable.
        return json.loads(data.decode("utf-8-sig", "surrogateescape"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise VicurError(
            f"is not a JSON document ({error}).",
            where=str(folder.path / name),
            remedy="Fetch or write the file again.",
        ) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else RepeatedKeys(pairs)


def entries_in(folder: SourceFolder, name: str, field: str | None = None) -> Sequence[Any]:
    """Return the list that a document is or, with a field, has; or of an object of objects the pairs of key and value.

    Raises:
        VicurError: if it is another value.
    """
    whole = document(folder, name)
    value = whole.get(field) if field is not None and isinstance(whole, dict) else None if field else whole
    if isinstance(value, list):
        return value
    if field is None and isinstance(value, dict):
        return value.pairs if isinstance(value, RepeatedKeys) else list(value.items())
    raise VicurError(
        f"has no list {field!r}." if field else "is neither a JSON list nor an object.",
        where=str(folder.path / name),
        remedy="Fetch the file again, or set data.format to its layout.",
    )


def as_object(entry: Any) -> Mapping[str, Any]:
    """Return an entry if it is a JSON object.

    Raises:
        UnusableRowError: if it is another value, or repeats a key.
    """
    if isinstance(entry, RepeatedKeys):
        twice = repeated_key(entry.pairs)
        raise UnusableRowError(twice, f"the key {twice!r} occurs twice", "Write each key once.")
    if not isinstance(entry, dict):
        raise not_an_object(entry)
    return entry


def first_objects(folder: SourceFolder, name: str, field: str | None = None) -> list[Mapping[str, Any]]:
    """Return the first objects of :func:`entries_in`, by the beginning of the file; none if it has another outline."""
    start = outline(folder, name)
    rows = start.get(field) if field is not None and isinstance(start, dict) else None if field else start
    values = rows.values() if isinstance(rows, dict) else rows if isinstance(rows, list) else ()
    return [each for each in values if isinstance(each, dict)]


def file_named(folder: SourceFolder, *names: str) -> str:
    """Return the path of the image with one of these endings of its path, or the first name if there is none, for the message."""
    for name in names:
        found = folder.named(name)
        if len(found) == 1 or (found and name in found):
            return name if name in found else found[0]
    return names[0]
