"""Reads a folder in any format, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.data.conftest import png
from vicur.config.data import FolderConfig
from vicur.data import Example
from vicur.data.formats import SourceFolder
from vicur.data.reading import Reading
from vicur.data.rows import Row
from vicur.data.schema import SkippedRow

RED, BLUE = png(), png(5, 4, (10, 20, 200))
"""Two images."""


def reading(folder: Path, **settings: Any) -> Reading:
    """Recognise the format of a folder."""
    return Reading.of(SourceFolder(folder), FolderConfig(path=folder, **settings))


def rows(folder: Path, **settings: Any) -> list[Row | SkippedRow]:
    """Read all rows of a folder, each unit with a reading of its own, as other processes do."""
    units = reading(folder, **settings).units()
    return [row for unit in units for row in reading(folder, **settings).rows(unit) if row is not None]


def examples(folder: Path, **settings: Any) -> list[Example]:
    """Read a folder whose rows are all usable."""
    found = rows(folder, **settings)
    assert [str(row) for row in found if isinstance(row, SkippedRow)] == []
    return [row.example for row in found if isinstance(row, Row)]


def splits(folder: Path, **settings: Any) -> list[str | None]:
    """Return the split that the source names for each usable row."""
    return [row.split for row in rows(folder, **settings) if isinstance(row, Row)]


def write(folder: Path, files: Mapping[str, bytes | str | list[Any] | dict[str, Any]]) -> Path:
    """Write files by path: bytes and text as they are, lists of a .jsonl file as lines, and other values as JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list) and name.endswith(".jsonl"):
            content = lines(content)
        elif not isinstance(content, bytes | str):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def lines(rows: Iterable[Any]) -> str:
    """Write values as lines of JSON."""
    return "".join(f"{json.dumps(row)}\n" for row in rows)
