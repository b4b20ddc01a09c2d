"""Layouts of JSON files: a bad value costs one row, with its place and the reason, and all others are read as before."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.data.conftest import make_context
from tests.data.formats.reading import rows
from tests.data.layouts import LAYOUTS, Layout
from vicur.config.data import FolderConfig
from vicur.data import prepare, stage_inputs
from vicur.data.formats import FORMATS, Record, SourceFolder
from vicur.data.formats.documents import DocumentLayout
from vicur.data.row_columns import Layout as RowLayout
from vicur.data.rows import Row, read_row
from vicur.data.schema import SkippedRow

DOCUMENTS = [layout for layout in LAYOUTS if isinstance(FORMATS[layout.format], DocumentLayout)]
EACH_DOCUMENT = pytest.mark.parametrize("layout", DOCUMENTS, ids=lambda layout: layout.name)
DAMAGES = 100


class _File:
    """A JSON file of a layout, divided into the values that become rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text()
        # Some files of lines are called .json.
        self._is_lines = path.suffix == ".jsonl" or self.text.partition("}\n")[2].startswith("{")
        document = [json.loads(line) for line in self.text.splitlines()] if self._is_lines else json.loads(self.text)
        lists = [value for value in document.values() if isinstance(value, list)] if isinstance(document, dict) else []
        is_rows = isinstance(document, list) or (
            not lists and all(isinstance(each, dict) for each in document.values())
        )
        # A folder for each problem has one value in a file.
        self._document = document if is_rows or lists else [document]
        self._is_single = not is_rows and not lists
        self.entries: Any = max(lists, key=len) if lists and not is_rows else self._document
        self.keys = list(self.entries if isinstance(self.entries, dict) else range(len(self.entries)))

    def write(self, key: Any, value: Any) -> None:
        """Write the file with another value in one place."""
        before, self.entries[key] = self.entries[key], value
        if self._is_lines:
            self.path.write_text("".join(f"{json.dumps(each)}\n" for each in self._document))
        else:
            self.path.write_text(json.dumps(self._document[0] if self._is_single else self._document))
        self.entries[key] = before

    def restore(self) -> None:
        self.path.write_text(self.text)


def _files(folder: Path) -> list[_File]:
    """Return the files with several rows. One without a single intact row cannot be recognised."""
    found = [_File(path) for path in sorted([*folder.rglob("*.json"), *folder.rglob("*.jsonl")])]
    return [file for file in found if len(file.keys) > 1 or file.path.name == "data.json"]


def damaged(value: Any, draw: random.Random) -> Any:
    """Replace or remove one value somewhere in a JSON value."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.1:
        return draw.choice([None, 7, -1, "x", "", [], {}, [1], {"a": 1}, True, 1e400])
    copy = value.copy()
    key = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if draw.random() < 0.2:
        del copy[key]
    else:
        copy[key] = damaged(value[key], draw)
    return copy


def _records(folder: Path, config: FolderConfig) -> dict[tuple[str, int], list[Record]]:
    """Return the records of a source by file and row."""
    source, format_ = SourceFolder(folder), FORMATS[config.format]
    found: dict[tuple[str, int], list[Record]] = {}
    for unit in format_.units(source, config):
        for record in format_.records(source, unit, config):
            found.setdefault((record.file, record.row), []).append(record)
    return found


def _places(folder: Path, layout: Layout) -> set[tuple[str, int]]:
    return {(row.file, row.row) for row in rows(folder, format=layout.format)}


def _files_with_rows(folder: Path, whole: dict[tuple[str, int], list[Record]]) -> list[_File]:
    read = {folder / file for file, _ in whole}
    return [file for file in _files(folder) if file.path in read or "annotations" in file.path.name]


def _has_json_rows(layout: Layout) -> bool:
    with TemporaryDirectory() as name:
        folder = Path(name)
        layout.write(folder, count=4)
        if not any(folder.rglob("*.json*")):
            return False
        return bool(_files_with_rows(folder, _records(folder, FolderConfig(path=folder, format=layout.format))))


@pytest.mark.parametrize("layout", [each for each in LAYOUTS if _has_json_rows(each)], ids=lambda layout: layout.name)
def test_a_damaged_value_costs_one_row(layout: Layout, tmp_path: Path) -> None:
    layout.write(tmp_path, count=4)
    config = FolderConfig(path=tmp_path, format=layout.format)
    how = RowLayout.of(FORMATS[layout.format], config, seed=0)
    whole = _records(tmp_path, config)
    files = _files_with_rows(tmp_path, whole)
    draw = random.Random(0)  # noqa: S311
    skipped = 0
    for _ in range(DAMAGES):
        file = draw.choice(files)
        key = draw.choice(file.keys)
        file.write(key, damaged(file.entries[key], draw))
        found = _records(tmp_path, config)
        file.restore()
        assert found.keys() == whole.keys()
        changed = [place for place, records in found.items() if records != whole[place]]
        assert len(changed) <= 1
        for place in changed:
            for record in found[place]:
                row = read_row(record, SourceFolder(tmp_path), how)
                if isinstance(row, SkippedRow):
                    skipped += 1
                    assert (row.file, row.row) == place
                    assert row.reason
                    assert row.remedy
    assert skipped > DAMAGES // 10


@EACH_DOCUMENT
def test_bytes_that_are_not_utf8_cost_one_row(layout: Layout, tmp_path: Path) -> None:
    layout.write(tmp_path, count=2)
    whole = [row for row in rows(tmp_path, format=layout.format) if isinstance(row, Row)]
    for file in _files(tmp_path):
        asked = next((row.example.question for row in whole if row.example.question in file.text), None)
        if asked is None:
            continue
        file.path.write_bytes(file.text.encode().replace(asked.encode(), b"Qu\xe9 es?", 1))
        found = rows(tmp_path, format=layout.format)
        file.restore()
        assert len(found) == len(whole)
        reasons = [row.reason for row in found if isinstance(row, SkippedRow)]
        assert reasons == ["contains half a character (a lone surrogate)"]


@EACH_DOCUMENT
def test_a_repeated_key_costs_one_row_and_a_repeated_id_loses_none(layout: Layout, tmp_path: Path) -> None:
    layout.write(tmp_path, count=4)
    whole = _places(tmp_path, layout)
    [file, *_] = sorted(_files(tmp_path), key=lambda each: -len(each.text))
    if isinstance(file.entries, dict):
        # Both rows of the id are read, so that prepare reports the second.
        again = json.dumps({file.keys[0]: file.entries[file.keys[1]]})[1:-1]
        file.path.write_text(f"{file.text.rstrip().removesuffix('}')}, {again}}}")
        assert len(_places(tmp_path, layout)) == len(whole) + 1
    elif isinstance(first := file.entries[0], dict):
        name = next(iter(first))
        file.write(0, "HERE")
        twice = f"{json.dumps(first)[:-1]}, {json.dumps(name)}: {json.dumps(first[name])}}}"
        file.path.write_text(file.path.read_text().replace('"HERE"', twice))
        found = rows(tmp_path, format=layout.format)
        assert _places(tmp_path, layout) == whole
        assert [row.reason for row in found if isinstance(row, SkippedRow)] == [f"the key {name!r} occurs twice"]


@pytest.mark.parametrize("name", ["clevr", "scienceqa"])
def test_prepare_lists_a_damaged_row_of_a_document(name: str, tmp_path: Path) -> None:
    write: Callable[..., object] = next(layout for layout in DOCUMENTS if layout.name == name).write
    write(tmp_path / "source", count=3)
    file = max(_files(tmp_path / "source"), key=lambda each: len(each.text))
    file.write(file.keys[0], None)
    (tmp_path / "data").mkdir()
    config = FolderConfig(path=tmp_path / "source", required_splits=(), max_skipped_share=0.5)
    summary = prepare(config, stage_inputs(config), tmp_path / "data", make_context(tmp_path / "work"))
    [line] = map(json.loads, (tmp_path / "data" / "skipped.jsonl").read_text().splitlines())
    assert summary.skipped == 1
    assert line["file"] == file.path.relative_to(tmp_path / "source").as_posix()
    assert (line["row"], line["reason"]) == (1, "is null, not a JSON object")
