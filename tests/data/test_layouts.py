from pathlib import Path

import pytest

from tests.data.conftest import make_context
from tests.data.layouts import LAYOUTS, Layout
from tests.data.layouts.items import Expected, shows
from vicur.config.data import FolderConfig
from vicur.data import prepare, stage_inputs
from vicur.data.formats import FORMATS, SourceFolder, chosen_format
from vicur.data.inspection import inspect
from vicur.data.row_columns import Layout as RowLayout
from vicur.data.rows import Row, read_row
from vicur.data.schema import SkippedRow

ALL = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


def _read(folder: Path, **settings: object) -> list[Row | SkippedRow | None]:
    config = FolderConfig(path=folder, **settings)
    source = SourceFolder(folder)
    chosen = chosen_format(source, config)
    how = RowLayout.of(chosen, config, seed=0)
    return [
        read_row(record, source, how)
        for unit in chosen.units(source, config)
        for record in chosen.records(source, unit, config)
    ]


def _problems(row: Row | SkippedRow | None, expected: Expected) -> list[str]:
    if not isinstance(row, Row):
        return [str(row)]
    example = row.example
    wanted = {
        "question": expected.question,
        "answer": expected.answer,
        "choices": expected.choices,
        "rationale": expected.rationale,
    }
    found = {name: getattr(example, name) for name in wanted}
    if expected.id is not None:
        wanted["id"], found["id"] = expected.id, example.id
    if expected.group is not None:
        wanted["group"], found["group"] = expected.group, example.group
    wanted["split"], found["split"] = expected.split, row.split
    wanted |= expected.metadata
    found |= {name: example.metadata.get(name) for name in expected.metadata}
    problems = [f"{name}: {found[name]!r} is not {wanted[name]!r}" for name in wanted if found[name] != wanted[name]]
    if len(example.images) != len(expected.images) or not all(map(shows, example.images, expected.images)):
        problems.append(f"has {len(example.images)} images, which are not {expected.images}")
    return problems


@ALL
def test_a_public_layout_is_recognised(layout: Layout, tmp_path: Path) -> None:
    layout.write(tmp_path / layout.name)
    config = FolderConfig(path=tmp_path / layout.name)
    assert chosen_format(SourceFolder(config.path), config).name == layout.format


@ALL
def test_a_public_layout_is_read_to_the_last_row(layout: Layout, tmp_path: Path) -> None:
    expected = layout.write(tmp_path / layout.name, count=3)
    rows = _read(tmp_path / layout.name)
    assert len(rows) == len(expected)
    problems = [
        f"row {number}: {problem}"
        for number, (row, wanted) in enumerate(zip(rows, expected, strict=True), start=1)
        for problem in _problems(row, wanted)
    ]
    assert not problems, "\n".join(problems)
    ids = [row.example.id for row in rows if isinstance(row, Row)]
    assert len(set(ids)) == len(ids)


@ALL
def test_the_section_that_inspect_prints_prepares_a_public_layout(layout: Layout, tmp_path: Path) -> None:
    expected = layout.write(tmp_path / layout.name, count=3)
    found = inspect(SourceFolder(tmp_path / layout.name), FolderConfig(path=tmp_path / layout.name))
    assert (found.format, found.usable, found.skipped) == (layout.format, len(expected), [])
    section = {**found.config, "type": "folder", "path": tmp_path / layout.name, "required_splits": []}
    config = FolderConfig.model_validate(section)
    (tmp_path / "data").mkdir()
    summary = prepare(config, stage_inputs(config), tmp_path / "data", make_context(tmp_path / "work"))
    assert (sum(summary.examples.values()), summary.skipped) == (len(expected), 0)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_an_empty_folder_is_no_layout(name: str, tmp_path: Path) -> None:
    config = FolderConfig(path=tmp_path)
    assert FORMATS[name].recognise(SourceFolder(tmp_path), config) is None
