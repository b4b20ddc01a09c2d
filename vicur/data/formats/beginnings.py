"""Beginnings of data files, by which formats recognise them: the columns of the first row, or the outline of a JSON document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from vicur.data.formats.json_files import JsonFormat
from vicur.data.formats.readers import reader_of
from vicur.data.formats.source_folder import SourceFolder
from vicur.errors import VicurError

_BYTES = 1 << 20  # of a text file that are looked at
_MOST = 40  # keys or elements of a JSON value that are looked at
_DEPTH = 4
_DIGITS = re.compile(r"\d+")
_BLANK = re.compile(r"[\s\ufeff]*")
_DECODER = json.JSONDecoder()


def representatives(files: Iterable[str]) -> list[str]:
    """Return one file of each group whose names differ in digits only, as those of shards do."""
    return list({_DIGITS.sub("0", name): name for name in reversed(list(files))}.values())[::-1]


def first_columns(folder: SourceFolder, name: str) -> frozenset[str]:
    """Return the columns of the first row of a file, or none if it does not begin with a row."""
    if not name.lower().endswith(JsonFormat.endings):
        try:
            stamp = (folder.path / name).stat()
            return _table_columns(folder.path, name, stamp.st_size, stamp.st_mtime_ns)
        except (OSError, VicurError):
            return frozenset()
    # Not the format's own look at the file, which reads a document other than a list to its end.
    start = outline(folder, name)
    row = start[0] if isinstance(start, list) and start else start
    return frozenset(row) if isinstance(row, dict) else frozenset()


def outline(folder: SourceFolder, name: str) -> Any:
    """Return the first value of a JSON file, without what is not at the beginning of the file, or ``None`` if it is not JSON."""
    try:
        stamp = (folder.path / name).stat()
        return _outline(folder.path, name, stamp.st_size, stamp.st_mtime_ns)
    except (OSError, VicurError):
        return None


# Many formats look at the same file. Size and time are part of the key, because a file may be replaced.
@lru_cache(maxsize=4096)
def _table_columns(path: Path, name: str, size: int, time: int) -> frozenset[str]:  # noqa: ARG001
    return frozenset(reader_of(name).peek(SourceFolder(path), name) or ())


@lru_cache(maxsize=256)
def _outline(path: Path, name: str, size: int, time: int) -> Any:  # noqa: ARG001
    with SourceFolder(path).open(name) as stream:
        text = stream.read(_BYTES).decode("utf-8", "replace")
    try:
        return _value(text, _after_blanks(text, 0), _DEPTH)[0]
    except (ValueError, IndexError, RecursionError):
        return None


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
