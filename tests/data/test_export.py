"""Exports hold every example, other libraries can read them, and ``prepare`` gets the same examples back."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.data.conftest import make_context
from vicur.cli import app
from vicur.config.data import FolderConfig
from vicur.data import prepare, read_examples, stage_inputs
from vicur.data.dataset import DatasetWriter
from vicur.data.exporting import EXPORTERS, export
from vicur.data.formats import FORMATS
from vicur.data.images import encode_plain
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.stage.events import Events, read_events
from vicur.storage.folders import files_below, tree_sha256

READ_AS = {"hf": "parquet", "jsonl": "examples", "verl": "verl", "webdataset": "webdataset"}


def picture(shade: int) -> bytes:
    from PIL import Image

    return encode_plain(Image.new("RGB", (8, 6), (shade, 40, 90)))


def example(name: str, **changes: Any) -> Example:
    fields = {
        "id": name,
        "images": (picture(1),),
        "question": "What?",
        "answer": "12",
        "source": "mine",
        "split": "test",
    }
    return Example(**{**fields, **changes})


EXAMPLES = [
    example("a/1.x", split="distill", cue="It is red.", rationale="Twelve.", metadata={"group": "g", "kind": "sum"}),
    example("ümlaut 2", split="distill", question="Wie viel\n\u2265 5?", choices=("7", "12", "9"), answer="B"),
    example("no-image", split="distill", images=(), question="2 + 10?"),
    example(
        "two", images=(picture(2), picture(3)), metadata={"reference": "See. Answer: 12", "nested": {"a": [1, None]}}
    ),
    example("placed", images=(picture(4), picture(5)), question="Compare <image 2> with <image 1>.", cue="c" * 3000),
    example("same image", images=(picture(1),), question="Which one?"),
    example("other", split="validation", images=(picture(7),)),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "data"
    folder.mkdir()
    writer = DatasetWriter(folder)
    for each in EXAMPLES:
        writer.add(each)
    writer.finish({"type": "folder"}, None, skipped=0)
    return folder


def exported(dataset: Path, to: str, output: Path, **settings: Any) -> Path:
    export(dataset, to, output, Events("export", None), **settings)
    return output


@pytest.mark.parametrize("to", [name for name in sorted(EXPORTERS) if READ_AS[name] in FORMATS])
def test_prepare_reads_the_same_examples_from_an_export(to: str, dataset: Path, tmp_path: Path) -> None:
    export_folder = exported(dataset, to, tmp_path / "export")
    config = FolderConfig.model_validate(
        {"path": export_folder, "format": READ_AS[to], "required_splits": (), "duplicates": "off"}
    )
    (tmp_path / "data").mkdir()
    summary = prepare(config, stage_inputs(config), tmp_path / "data", make_context(tmp_path / "work"))
    assert summary.skipped == 0
    for split in ("distill", "validation", "test"):
        assert read_examples(tmp_path / "data", split) == read_examples(dataset, split)


@pytest.mark.parametrize("to", sorted(EXPORTERS))
def test_bytes_are_the_same_each_time_and_split_by_split(to: str, dataset: Path, tmp_path: Path) -> None:
    first, again = (exported(dataset, to, tmp_path / name) for name in ("first", "again"))
    assert tree_sha256(first) == tree_sha256(again)
    only = exported(dataset, to, tmp_path / "only", splits=("validation",))
    assert not any("distill" in file.name for file in files_below(only))
    assert len(files_below(only)) < len(files_below(first)) or to == "jsonl"


def test_webdataset_has_one_key_for_the_files_of_an_example(dataset: Path, tmp_path: Path) -> None:
    folder = exported(dataset, "webdataset", tmp_path / "export")
    with tarfile.open(folder / "test-000000.tar") as archive:
        names = archive.getnames()
        assert names == [
            "000000000.00.png",
            "000000000.01.png",
            "000000000.json",
            "000000001.00.png",
            "000000001.01.png",
            "000000001.json",
            "000000002.png",
            "000000002.json",
        ]
        first = archive.extractfile("000000002.json")
        assert first is not None
        assert json.loads(first.read())["question"] == "Which one?"
        assert {member.mtime for member in archive.getmembers()} == {0}


def test_verl_columns_hold_prompt_images_answer_and_cue(dataset: Path, tmp_path: Path) -> None:
    from PIL import Image

    folder = exported(dataset, "verl", tmp_path / "export", cues={"a/1.x": "It shows 12.", "two": "Two."})
    rows = pq.read_table(folder / "distill-00000.parquet").to_pylist()
    assert set(rows[0]) == {"data_source", "prompt", "images", "ability", "reward_model", "extra_info"}
    assert rows[0]["prompt"] == [{"role": "user", "content": "<image>What?"}]
    assert rows[0]["reward_model"] == {"style": "rule", "ground_truth": "12"}
    assert (rows[0]["data_source"], rows[0]["ability"]) == ("mine", "sum")
    assert rows[0]["extra_info"]["cue"] == "It shows 12."
    assert Image.open(io.BytesIO(rows[0]["images"][0]["bytes"])).size == (8, 6)
    # The choices are part of the prompt.
    assert all(choice in rows[1]["prompt"][0]["content"] for choice in ("A. 7", "B. 12", "C. 9"))
    assert rows[1]["extra_info"]["cue"] is None
    placed = pq.read_table(folder / "test-00000.parquet").to_pylist()[1]
    assert placed["prompt"][0]["content"] == "Compare <image> with <image>."
    assert [image["bytes"] for image in placed["images"]] == [picture(5), picture(4)]


def test_large_splits_are_divided_into_files(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in (
        ("hf", ["test-00000.parquet", "test-00001.parquet", "test-00002.parquet"]),
        ("webdataset", ["test-000000.tar", "test-000001.tar", "test-000002.tar"]),
        ("verl", ["test-00000.parquet", "test-00001.parquet", "test-00002.parquet"]),
    ):
        monkeypatch.setattr(f"vicur.data.exporting.{module}.SHARD_BYTES", 1)
        folder = exported(dataset, module, tmp_path / module, splits=("test",))
        assert [file.name for file in files_below(folder) if file.name.startswith("test")] == names


def test_progress_is_reported(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "jsonl", tmp_path / "export", Events("export", tmp_path / "events.jsonl"))
    last = read_events(tmp_path / "events.jsonl")[0][-1]
    assert (last.done, last.total) == (7, 7)


def test_wrong_requests_are_refused_and_nothing_is_written(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    for settings, problem in (
        ({"to": "csv"}, "'csv' is not a layout"),
        ({"splits": ("train",)}, "has no split 'train'; it has"),
        ({"cues": {"unknown": "x"}}, "no cue belongs to an example"),
        ({"output": tmp_path / "full"}, "is not empty; nothing was written"),
        ({"dataset": tmp_path / "full"}, "has no manifest"),
    ):
        arguments: dict[str, Any] = {"dataset": dataset, "to": "hf", "output": tmp_path / "export", **settings}
        with pytest.raises(VicurError, match=problem):
            export(events=Events("export", None), **arguments)
        assert not (tmp_path / "export").exists()
    assert [file.name for file in files_below(tmp_path / "full")] == ["mine.txt"]


def test_command_exports_with_cues_and_says_what(dataset: Path, tmp_path: Path) -> None:
    table = tmp_path / "cues.parquet"
    pq.write_table(pa.table({"example_id": ["a/1.x"], "cue": ["It shows 12."]}), table)
    arguments = ["data", "export", str(dataset), "--to", "verl", "--output", str(tmp_path / "export")]
    result = CliRunner().invoke(app, [*arguments, "--split", "distill", "--cues", str(table)])
    assert result.exit_code == 0, result.output
    assert "3 examples (distill 3), 1 with a cue" in result.output.replace("\n", " ")
    row = pq.read_table(tmp_path / "export" / "distill-00000.parquet").to_pylist()[0]
    assert row["extra_info"]["cue"] == "It shows 12."
