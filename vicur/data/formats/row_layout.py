"""Layouts whose files are rows in JSON lines, a JSON list or parquet, and which are recognised by their columns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from vicur.config.data import ImportConfig
from vicur.config.formats import FieldName
from vicur.data.formats.base import Format, Recognised, Record, Unit
from vicur.data.formats.beginnings import first_columns
from vicur.data.formats.documents import FIELDS, as_object, document
from vicur.data.formats.lines import json_lines, line_units
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.formats.tables import parquet_records, parquet_units
from vicur.data.schema import Fault
from vicur.data.splitting import file_split
from vicur.errors import VicurError

ENDINGS = (".jsonl", ".json", ".parquet")


class RowLayout(Format):
    """A layout of rows. Subclasses set ``identified_by`` and define how a row's columns become our fields."""

    columns: ClassVar[Mapping[FieldName, tuple[str, ...]]] = FIELDS
    identified_by: ClassVar[tuple[frozenset[str], ...]]
    """Sets of columns, of which a file must have one completely."""
    default_split: ClassVar[str | None] = None
    """Split of files whose names say none."""

    @abstractmethod
    def reshaped(self, row: Mapping[str, Any], file: str) -> Iterator[Mapping[str, Any] | Fault]:
        """Yield the questions of a row, with our fields; other columns are kept as metadata.

        A row has the columns of one of the sets of ``identified_by``.
        """

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        files = self._files(folder, config)
        if not files:
            return None
        others = set(folder.ending(*ENDINGS, patterns=config.files)) - set(files)
        return Recognised(files, left_out=dict.fromkeys(sorted(others), f"has no rows of the layout {self.name}"))

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        files = self._files(folder, config)
        if not files:
            wanted = " or ".join(", ".join(sorted(names)) for names in self.identified_by)
            raise VicurError(
                f"has no .jsonl, .json or .parquet file with the columns of the layout {self.name} ({wanted}).",
                where=str(folder.path),
                remedy="Correct data.path or data.files, or set data.format=auto.",
            )
        return [
            unit
            for name in files
            for unit in row_units(folder, name, file_split(name, config.splits) or self.default_split)
        ]

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        for record in row_records(folder, unit):
            if isinstance(record.columns, Fault):
                yield record
                continue
            missing = self._missing(record.columns)
            found = [missing] if missing else list(self.reshaped(record.columns, unit.file))
            for number, each in enumerate(found, start=1):
                columns = each
                if len(found) > 1 and not isinstance(each, Fault) and each.get("id") is None:
                    columns = {**each, "id": f"{record.file}:{record.row}-{number}"}
                yield Record(record.file, record.row, columns, record.split)

    def _files(self, folder: SourceFolder, config: ImportConfig) -> list[str]:
        files = folder.ending(*ENDINGS, patterns=config.files)
        if config.format == self.name and config.files:
            return files
        matching = {name for name in files if self._missing(dict.fromkeys(first_columns(folder, name))) is None}
        return [name for name in files if name in matching]

    def _missing(self, row: Mapping[str, Any]) -> Fault | None:
        if any(names <= row.keys() for names in self.identified_by):
            return None
        lacking = min((sorted(names - row.keys()) for names in self.identified_by), key=len)
        return Fault(field=lacking[0], reason="is missing", remedy="Add the field to the row.")


def row_units(folder: SourceFolder, name: str, split: str | None) -> list[Unit]:
    """Divide a file of rows into units."""
    if name.lower().endswith(".parquet"):
        return parquet_units(folder, name, split)
    if name.lower().endswith(".json"):
        return [Unit(file=name, end=len(document(folder, name)) + 1, split=split)]
    return line_units(folder, name, split)


def row_records(folder: SourceFolder, unit: Unit) -> Iterator[Record]:
    """Yield the rows of a unit of :func:`row_units`."""
    if unit.file.lower().endswith(".parquet"):
        return parquet_records(folder, unit)
    if unit.file.lower().endswith(".json"):
        return _array_records(folder, unit)
    return json_lines(folder, unit)


def _array_records(folder: SourceFolder, unit: Unit) -> Iterator[Record]:
    for number, row in enumerate(document(folder, unit.file)[unit.first - 1 : unit.end - 1], start=unit.first):
        yield Record(unit.file, number, as_object(row), unit.split)
