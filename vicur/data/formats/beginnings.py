"""Beginnings of data files, by which formats recognise them: the columns of the first row, or the outline of a JSON document."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from vicur.data.formats.json_files import JsonFormat
from vicur.data.formats.readers import reader_of
from vicur.data.formats.source_folder import SourceFolder
from vicur.errors import VicurError

_BYTES = 1 << 20  # of a text file that are looked at
_MOST = 40  # keys or elements of a JSON value that are looked at
_DEPTH = 4
_ROWS = 10
_LINES = (".jsonl", ".ndjson")
_DIGITS = re.compile(r"\d+")
_BLANK = re.compile(r"[\s\ufeff]*")
T = TypeVar("T")
_DECODER = json.JSONDecoder()


def kept_by_file(most: int) -> Callable[[Callable[[SourceFolder, str], T]], Callable[[SourceFolder, str], T]]:
    """Keep the results of a function of a file for the last ``most`` files, for as long as these do not change."""

    def decorate(function: Callable[[SourceFolder, str], T]) -> Callable[[SourceFolder, str], T]:
        # Size and time are part of the key, because a file may be replaced. The folder is not, because its list of files is large.
        @lru_cache(maxsize=most)
        def kept(path: Path, name: str, size: int, time: int) -> T:  # noqa: ARG001
            return function(SourceFolder(path), name)

        def of_file(folder: SourceFolder, name: str) -> T:
            stamp = folder.locate(name).stat()
            return kept(folder.path, name, stamp.st_size, stamp.st_mtime_ns)

        return of_file

    return decorate


def representatives(files: Iterable[str]) -> list[str]:
    """Return one file of each group whose names differ in digits only, as those of shards do."""
    return list({_DIGITS.sub("0", name): name for name in reversed(list(files))}.values())[::-1]


def first_columns(folder: SourceFolder, name: str) -> frozenset[frozenset[str]]:
    """Return the sets of columns of the first rows of a file, of which one may be damaged."""
    try:
        if not name.lower().endswith(JsonFormat.endings):
            return _table_columns(folder, name)
        # Not the format's own look at the file, which reads a document other than a list to its end.
        start = _first_lines(folder, name) if name.lower().endswith(_LINES) else outline(folder, name)
    except (OSError, VicurError):
        return frozenset()
    rows = start if isinstance(start, list) else [start]
    return frozenset(frozenset(row) for row in rows if isinstance(row, dict))


def outline(folder: SourceFolder, name: str) -> Any:
    """Return the first value of a JSON file, without what is not at the beginning of the file, or ``None`` if it is not JSON."""
    try:
        return _outline(folder, name)
    except (OSError, VicurError):
        return None


# Many formats look at the same file.
@kept_by_file(4096)
def _table_columns(folder: SourceFolder, name: str) -> frozenset[frozenset[str]]:
    row = reader_of(name).peek(folder, name)
    return frozenset([frozenset(row)] if row else [])


@kept_by_file(256)
def _outline(folder: SourceFolder, name: str) -> Any:
    with folder.open(name) as stream:
        text = stream.read(_BYTES).decode("utf-8-sig", "replace")
    try:
        return _value(text, _after_blanks(text, 0), _DEPTH)[0]
    except (ValueError, IndexError, RecursionError):
        return None


@kept_by_file(4096)
def _first_lines(folder: SourceFolder, name: str) -> list[Any]:
    with folder.open(name) as stream:
        lines = stream.read(_BYTES).decode("utf-8-sig", "replace").splitlines()[:_ROWS]
    rows = []
    for line in lines:
        # The last line may be cut off, and be a row all the same.
        with suppress(ValueError, IndexError, RecursionError):
            rows.append(_value(line, _after_blanks(line, 0), _DEPTH)[0])
    return rows


def _after_blanks(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _value(text: str, position: int, depth: int) -> tuple[Any, int, bool]:
    """Return the value at a position, where it ends, and whether it is complete."""
    try:
        value, end = _DECODER.raw_decode(text, position)
        return value, end, True
    except ValueError:
        if depth == 0 or text[position] not in "[{":
            raise
    return _members(text, position, depth) if text[position] == "{" else _elements(text, position, depth)


def _members(text: str, position: int, depth: int) -> tuple[dict[str, Any], int, bool]:
    found: dict[str, Any] = {}
    while len(found) < _MOST:
        position = _after_blanks(text, position + 1)
        try:
            key, position = _DECODER.raw_decode(text, position)
            position = _after_blanks(text, _after_blanks(text, position) + 1)
            found[key], position, complete = _value(text, position, depth - 1)
        except (ValueError, IndexError, TypeError):
            break
        position = _after_blanks(text, position)
        if not complete or text[position : position + 1] != ",":
            break
    return found, position, False


def _elements(text: str, position: int, depth: int) -> tuple[list[Any], int, bool]:
    found: list[Any] = []
    while len(found) < _MOST:
        position = _after_blanks(text, position + 1)
        try:
            value, position, complete = _value(text, position, depth - 1)
        except (ValueError, IndexError):
            break
        found.append(value)
        position = _after_blanks(text, position)
        if not complete or text[position : position + 1] != ",":
            break
    return found, position, False
