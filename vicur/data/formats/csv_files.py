"""CSV and TSV files: the first line has the names of the columns, and quoted values may contain separators and line ends."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from vicur.config.data import ImportConfig
from vicur.config.formats import FormatName
from vicur.data.formats.base import UNIT_BYTES, UNIT_ROWS, Record, Unit
from vicur.data.formats.lines import opened_text
from vicur.data.formats.registry import register
from vicur.data.formats.row_files import RowFiles
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault
from vicur.errors import VicurError
from vicur.wording import listed

_SEPARATORS = (",", ";", "\t", "|")
_LONGEST_VALUE = 64 << 20  # characters; an image in base64 may be long
_LONGEST_LINE = 64 << 20
_REMEDY = "Quote values that contain separators, quotes or line ends, and double the quotes in them."


@dataclass(frozen=True)
class _Row:
    line: int
    offset: int
    values: list[str] | Fault
    end: int


@register
class CsvFormat(RowFiles):
    """Comma-separated files, or with semicolons, tabs or bars."""

    name: ClassVar[FormatName] = "csv"
    description = "CSV files with the columns' names in the first line (separated by comma, semicolon, tab or |)"
    endings: ClassVar[tuple[str, ...]] = (".csv",)

    def peek(self, folder: SourceFolder, name: str) -> Mapping[str, Any] | None:
        table = CsvTable(folder, name)
        first = next(table.rows(), None)
        if first is None or isinstance(first.values, Fault):
            return dict.fromkeys(table.header, "")
        return dict(zip(table.header, first.values, strict=False))

    def file_units(self, folder: SourceFolder, name: str, split: str | None) -> list[Unit]:
        units: list[Unit] = []
        table = CsvTable(folder, name)
        first, begin, rows, end = table.first_line, table.first_offset, 0, table.first_line
        for row in table.rows():
            if rows >= UNIT_ROWS or row.offset - begin >= UNIT_BYTES:
                units.append(Unit(file=name, first=first, end=row.line, offset=begin, split=split))
                first, begin, rows = row.line, row.offset, 0
            rows += 1
            end = row.end
        return [*units, Unit(file=name, first=first, end=end, offset=begin, split=split)]

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        table = CsvTable(folder, unit.file)
        for row in table.rows(unit.first, unit.offset):
            if row.line >= unit.end:
                return
            columns = row.values if isinstance(row.values, Fault) else dict(zip(table.header, row.values, strict=True))
            yield Record(unit.file, row.line, columns, unit.split)


@register
class TsvFormat(CsvFormat):
    """Tab-separated files."""

    name: ClassVar[FormatName] = "tsv"
    description = "TSV files with the columns' names in the first line (separated by tabs)"
    endings = (".tsv", ".tab")


class CsvTable:
    """A file of separated values: its header, and its rows from any place."""

    def __init__(self, folder: SourceFolder, name: str) -> None:
        self._folder, self._name = folder, name
        self._where = str(folder.path / name)
        # The limit is global to Python's csv module.
        csv.field_size_limit(_LONGEST_VALUE)
        with opened_text(folder, name) as stream:
            lines = _Lines(stream, 1, 0)
            start = next(iter(_Lines(stream, 1, 0)), "")
            stream.seek(0)
            self._separator = _separator(start, tabs=name.lower().endswith((".tsv", ".tab")))
            try:
                header = next(csv.reader(lines, delimiter=self._separator, strict=True), [])
            except csv.Error as error:
                raise self._error(f"line 1 has no valid header ({error})", _REMEDY) from error
            self.first_line, self.first_offset = lines.number + 1, lines.offset
        self.header = self._checked(header)

    def _checked(self, header: list[str]) -> list[str]:
        names = [name.removeprefix("\ufeff").strip() for name in header]
        if any(_is_broken(name) for name in names):
            raise self._error("line 1 is not UTF-8; it may be in Latin-1", "Save the file as UTF-8.")
        repeated = {name for name in names if name and names.count(name) > 1}
        if repeated:
            raise self._error(f"has several columns with the name {listed(sorted(repeated))}", "Rename them.")
        # pandas leaves the name of its index empty.
        return [name or f"column {place}" for place, name in enumerate(names, start=1)]

    def rows(self, line: int | None = None, offset: int | None = None) -> Iterator[_Row]:
        """Yield the rows from a line at an offset in bytes; by default, from the first below the header. Blank lines do not count."""
        with opened_text(self._folder, self._name) as stream:
            begin = self.first_offset if offset is None else offset
            stream.seek(begin)
            lines = _Lines(stream, self.first_line if line is None else line, begin)
            reader = csv.reader(lines, delimiter=self._separator, strict=True)
            while True:
                number, place = lines.number + lines.has_read, lines.offset
                values: list[str] | Fault | None
                try:
                    values = next(reader, None)
                except csv.Error as error:
                    if "unexpected end of data" in str(error):
                        raise self._error(f"line {number}: a quote is not closed", _REMEDY) from error
                    values = Fault(field="", reason=f"is not valid CSV ({error})", remedy=_REMEDY)
                if values is None:
                    return
                if values:
                    yield _Row(number, place, self._row(values), lines.number + 1)

    def _row(self, values: list[str] | Fault) -> list[str] | Fault:
        if isinstance(values, Fault):
            return values
        if len(values) != len(self.header):
            counts = f"has {len(values)} values, but there are {len(self.header)} columns"
            return Fault(field="", reason=counts, remedy=_REMEDY)
        if any(_is_broken(value) for value in values):
            return Fault(field="", reason="is not UTF-8; it may be in Latin-1", remedy="Save the file as UTF-8.")
        return values

    def _error(self, problem: str, remedy: str) -> VicurError:
        return VicurError(f"{problem}.", where=self._where, remedy=remedy)


class _Lines:
    """Lines of a file as text, which knows the number of the last one and the offset after it. Invalid bytes become surrogates."""

    def __init__(self, stream: BinaryIO, first: int, offset: int) -> None:
        self._stream = stream
        self.number = first
        self.offset = offset
        self.has_read = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(_LONGEST_LINE)
        if not line:
            raise StopIteration
        self.number += self.has_read
        self.has_read = 1
        self.offset += len(line)
        return line.decode("utf-8", "surrogateescape")


def _is_broken(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)


def _separator(line: str, *, tabs: bool) -> str:
    if tabs:
        return "\t"
    counts = {each: len(next(csv.reader([line], delimiter=each), [])) for each in _SEPARATORS}
    return max(_SEPARATORS, key=lambda each: counts[each])
