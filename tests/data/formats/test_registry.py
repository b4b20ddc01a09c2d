"""A format works everywhere once its class is registered, or is refused when it is registered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.reading import reading, write
from vicur.config.data import ImportConfig
from vicur.data.formats import FORMATS, Format, Recognised, Record, SourceFolder, Unit, register, registry
from vicur.errors import VicurError


class QuizFormat(Format):
    name: Any = "webdataset"
    description = "a question on the first line, its answer on the second"

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        files = folder.ending(".quiz", patterns=config.files)
        return Recognised(files) if files else None

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        return [Unit(file=name, end=2) for name in folder.ending(".quiz", patterns=config.files)]

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        with folder.open(unit.file) as stream:
            question, answer = stream.read().decode().splitlines()
        yield Record(unit.file, 1, {"question": question, "answer": answer}, unit.split)


@pytest.fixture
def formats(monkeypatch: pytest.MonkeyPatch) -> dict[str, Format]:
    """Lets the test register formats, which are gone afterwards. One name is free."""
    without = {name: each for name, each in FORMATS.items() if name != "webdataset"}
    monkeypatch.setattr(registry, "FORMATS", without)
    return without


@pytest.mark.parametrize("left_out", ["recognise", "units", "records", "name", "description"])
@pytest.mark.usefixtures("formats")
def test_a_format_that_leaves_something_out_is_refused(left_out: str) -> None:
    body = {name: value for name, value in vars(QuizFormat).items() if name != left_out and not name.startswith("_")}
    incomplete: Any = type("HalfQuizFormat", (Format,), body)
    with pytest.raises(TypeError, match=f"HalfQuizFormat is not a complete format: it does not define {left_out}"):
        register(incomplete)


def test_names_are_unique_and_known(formats: dict[str, Format]) -> None:
    register(QuizFormat)
    assert isinstance(formats["webdataset"], QuizFormat)
    with pytest.raises(TypeError, match="webdataset has a class already: QuizFormat"):
        register(QuizFormat)
    unknown: Any = type("UnknownFormat", (QuizFormat,), {"name": "quiz"})
    with pytest.raises(TypeError, match="quiz is not one of FormatName"):
        register(unknown)


def test_a_name_without_a_class_fails_at_import(formats: dict[str, Format]) -> None:
    del formats["json"]
    with pytest.raises(TypeError, match=r"data\.format=json has no class"):
        registry.require_all_registered()


ROW = "question,answer\nA?,1\n"


def test_files_of_several_formats_are_refused_with_the_candidates(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": ROW, "b.jsonl": [{"question": "B?", "answer": 2}]})
    with pytest.raises(VicurError, match=r"in several formats: csv \(a\.csv\), jsonl \(b\.jsonl\)"):
        reading(tmp_path)
    assert reading(tmp_path, format="csv").format_name == "csv"
    assert reading(tmp_path, files=["*.jsonl"]).format_name == "jsonl"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "it has no files"),
        ({"notes.txt": "x"}, r"it has notes\.txt"),
        ({"a.csv": "x,y\n1,2\n"}, r"a\.csv has no column for the question or the answer, but x, y"),
        ({"a.json": {"b": 1}}, r"a\.json contains no list of rows"),
    ],
)
def test_a_folder_in_no_format_is_refused_with_what_it_has(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    write(tmp_path, files)
    with pytest.raises(VicurError, match=rf"has no data files in a format that is recognised \(.*{message}"):
        reading(tmp_path)


def test_a_format_without_files_names_what_it_wants(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": "x,y\n1,2\n"})
    with pytest.raises(VicurError, match=r"has no \.parquet or \.pq files that match data\.files \(z\*\)"):
        reading(tmp_path, format="parquet", files=["z*"]).units()
