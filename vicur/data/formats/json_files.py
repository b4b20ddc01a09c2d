"""JSON files: an object on each line (``jsonl``), or an array, an object with one list, or an object of objects (``json``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from vicur.config.data import ImportConfig
from vicur.data.formats.base import UNIT_BYTES, UNIT_ROWS, Recognised, Record, Unit
from vicur.data.formats.columns import PUBLIC
from vicur.data.formats.json_array import elements, mapped, start_of
from vicur.data.formats.json_values import object_or_fault
from vicur.data.formats.lines import json_lines, line_units, opened_text
from vicur.data.formats.registry import register
from vicur.data.formats.row_files import RowFiles, first_columns
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault

KEY = "key of the object"
"""Column with the key of a row in an object of objects."""
_START = 1 << 20  # bytes from which the form of a file is recognised
_COLUMNS = {**PUBLIC, "id": (*PUBLIC["id"], KEY)}


@register
class JsonlFormat(RowFiles):
    """One object a line."""

    name = "jsonl"
    description = "files with one JSON object a line"
    endings = (".jsonl", ".ndjson", ".json")

    def peek(self, folder: SourceFolder, name: str) -> Mapping[str, Any] | None:
        return _peek_lines(folder, name) if form_of(folder, name) == "lines" else None

    def file_units(self, folder: SourceFolder, name: str, split: str | None) -> list[Unit]:
        return line_units(folder, name, split)

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        return json_lines(folder, unit)


@register
class JsonFormat(RowFiles):
    """Documents with many rows. Files with one object a line may be among them."""

    name = "json"
    description = "JSON files with an array of objects, an object with one list, or an object of objects"
    columns = _COLUMNS
    refines = ("jsonl",)
    endings = (".json", ".jsonl", ".ndjson")

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        found = super().recognise(folder, config)
        if found is None or not found.files or config.format != "auto":
            return found
        # Lines alone are the format jsonl.
        return None if all(form_of(folder, name) == "lines" for name in found.files) else found

    def peek(self, folder: SourceFolder, name: str) -> Mapping[str, Any] | None:
        if form_of(folder, name) == "lines":
            return _peek_lines(folder, name)
        where = str(folder.path / name)
        with mapped(folder, name) as data:
            rows = (columns_of(bytes(data[each.start : each.end]), each.key) for each in elements(data, where))
            return first_columns(rows, where)

    def file_units(self, folder: SourceFolder, name: str, split: str | None) -> list[Unit]:
        if form_of(folder, name) == "lines":
            return line_units(folder, name, split)
        units: list[Unit] = []
        first, begin, number, place = 1, 0, 0, 0
        with mapped(folder, name) as data:
            for number, element in enumerate(elements(data, str(folder.path / name)), start=1):
                place = element.start - len(element.key or b"")
                if number == 1:
                    begin = place
                elif number - first >= UNIT_ROWS or place - begin >= UNIT_BYTES:
                    units.append(Unit(file=name, first=first, end=number, offset=begin, split=split))
                    first, begin = number, place
        return [*units, Unit(file=name, first=first, end=number + 1, offset=begin, split=split)]

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        if form_of(folder, unit.file) == "lines":
            yield from json_lines(folder, unit)
            return
        if not unit.rows:
            return
        with mapped(folder, unit.file) as data:
            rows = elements(data, str(folder.path / unit.file), unit.offset)
            for number, element in zip(range(unit.first, unit.end), rows, strict=False):
                columns = columns_of(bytes(data[element.start : element.end]), element.key)
                yield Record(unit.file, number, columns, unit.split)


def columns_of(text: bytes, key: bytes | None) -> dict[str, Any] | Fault:
    """Parse an element of a document. Its key in an object of objects becomes a column."""
    columns = object_or_fault(text)
    if key is None or isinstance(columns, Fault):
        return columns
    return {KEY: json.loads(key.rstrip().removesuffix(b":").decode("utf-8", "replace")), **columns}


def form_of(folder: SourceFolder, name: str) -> Literal["lines", "document"]:
    """Return whether a JSON file has an object on each line or is one document, by its first lines."""
    with opened_text(folder, name) as stream:
        start = stream.read(_START)
    place = start_of(start)
    is_named_lines = name.lower().endswith((".jsonl", ".ndjson"))
    line, end, rest = start[place:].partition(b"\n")
    if start[place : place + 1] != b"{":
        # A file that begins with anything else than a bracket has lines, of which each is reported.
        are_lines = is_named_lines or rest.lstrip()[:1] == b"{"
        is_document = start[place : place + 1] == b"[" and not (are_lines and rest.strip() and _is_value(line))
        return "document" if is_document else "lines"
    if isinstance(object_or_fault(line), Fault):
        # A first line without an end may be long. An invalid one counts if the next begins like an object.
        is_long = not end and len(start) == _START
        return "lines" if is_named_lines or is_long or rest.lstrip()[:1] == b"{" else "document"
    # A document on a single line looks the same as one row.
    return "lines" if rest.strip() or is_named_lines else "document"


def _is_value(line: bytes) -> bool:
    try:
        json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return False
    return True


def _peek_lines(folder: SourceFolder, name: str) -> Mapping[str, Any]:
    with opened_text(folder, name) as stream:
        rows = (object_or_fault(line) for line in iter(lambda: stream.readline(UNIT_BYTES), b"") if line.strip())
        return first_columns(rows, str(folder.path / name))
