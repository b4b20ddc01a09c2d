"""Commands of single stages: their outputs, and one clear message for invalid input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.calling import Command
from tests.cli.conftest import SMALL
from vicur.config.methods import METHODS
from vicur.data import read_examples
from vicur.storage.folders import tree_sha256


@pytest.fixture
def dataset(project: Path, vicur: Command) -> Path:
    assert vicur("data", "prepare", "--config", "small.yaml").code == 0
    return project / "data"


@pytest.fixture
def folder(project: Path, dataset: Path) -> Path:
    """A folder with examples.jsonl and images, as a user would bring."""
    own = project / "own"
    own.mkdir()
    rows = []
    for example in read_examples(dataset):
        image = f"{example.id.replace('/', '-')}.png"
        (own / image).write_bytes(example.images[0])
        row = {"id": example.id, "images": [image], "question": example.question}
        rows.append({**row, "answer": example.answer, "split": example.split})
    write_rows(own, rows)
    return own


def write_rows(own: Path, rows: list[dict[str, object]]) -> None:
    (own / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_rows(own: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (own / "examples.jsonl").read_text().splitlines()]


def own_data(*more: str) -> list[str]:
    return ["data", "prepare", "--set", "data.type=folder", "--set", "data.path=own", *more]


def test_a_dataset_is_prepared_verified_pinned_and_shown(dataset: Path, project: Path, vicur: Command) -> None:
    assert "is intact" in vicur("data", "verify").output
    assert vicur("data", "pin").code == 0
    assert yaml.safe_load((project / "data.dvc").read_text())["outs"][0]["path"] == "data"
    assert vicur("data", "verify", "--pin", "data.dvc").code == 0
    assert "It matches the hash in data.dvc" in vicur("data", "prepare", "--config", "small.yaml").output
    other = vicur("data", "prepare", "--config", "small.yaml", "--set", "seed=1")
    assert "It does not match the hash in data.dvc" in other.output
    assert vicur("data", "prepare", "--config", "small.yaml").code == 0
    shown = vicur("data", "show", "--split", "distill", "-n", "2", "--images", "images")
    assert shown.output.count("question ") == 2
    assert "distill" in shown.output
    written = list((project / "images").iterdir())
    assert len(written) == 2
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in written)
    assert dataset.is_dir()


def test_an_identical_stage_is_reused_from_the_cache(dataset: Path, vicur: Command) -> None:
    again = vicur("data", "prepare", "--config", "small.yaml", "-o", "other")
    assert "prepare: reused" in again.error
    assert tree_sha256(dataset) == tree_sha256(dataset.parent / "other")
    fresh = vicur("data", "prepare", "--config", "small.yaml", "-o", "other", "--no-cache")
    assert "prepare: reused" not in fresh.error
    assert tree_sha256(dataset) == tree_sha256(dataset.parent / "other")
    assert "reused" not in vicur("data", "prepare", "--config", "small.yaml", "--set", "seed=1", "-o", "third").error


def test_cues_are_extracted(dataset: Path, project: Path, vicur: Command) -> None:
    assert dataset.is_dir()
    result = vicur("cues", "extract", "--set", "cues.provider.type=annotation")
    assert result.code == 0, result.error
    assert {"cues.parquet", "audit.json", "samples.html"} <= {path.name for path in (project / "cues").iterdir()}


def test_a_damaged_dataset_is_rejected(dataset: Path, vicur: Command) -> None:
    shard = next(dataset.glob("test-*.parquet"))
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.unlink()
    shard.write_bytes(damaged)
    result = vicur("data", "verify")
    assert result.code == 2
    assert shard.name in result.error


def test_a_corrupt_image_is_reported_and_the_old_dataset_stays(folder: Path, dataset: Path, vicur: Command) -> None:
    before = tree_sha256(dataset)
    rows = read_rows(folder)
    (folder / str(rows[2]["images"][0])).write_bytes(b"\x89PNG torn")  # type: ignore[index]
    result = vicur(*own_data("--set", "data.max_skipped_share=0"))
    assert result.code == 2
    assert "examples.jsonl" in result.error
    assert "row 3" in result.error
    assert "max_skipped_share" in result.error  # what to do
    assert "Traceback" not in result.error
    assert tree_sha256(dataset) == before


def test_a_missing_field_is_reported_and_the_old_dataset_stays(folder: Path, dataset: Path, vicur: Command) -> None:
    before = tree_sha256(dataset)
    rows = read_rows(folder)
    del rows[4]["answer"]
    write_rows(folder, rows)
    result = vicur(*own_data("--set", "data.max_skipped_share=0"))
    assert result.code == 2
    assert "row 5" in result.error
    assert "answer" in result.error
    assert "Traceback" not in result.error
    assert tree_sha256(dataset) == before
    # Within the limit the row is left out.
    assert vicur(*own_data("--set", "data.max_skipped_share=0.2")).code == 0


def test_an_unknown_method_is_rejected_with_the_known_ones(dataset: Path, project: Path, vicur: Command) -> None:
    assert dataset.is_dir()
    result = vicur("train", "--method", "grpoo", "-o", "students/x")
    assert result.code == 2
    assert "--method must be one of" in result.error
    assert "Did you mean 'grpo'?" in result.error
    assert all(f"'{method}'" in result.error for method in METHODS)
    assert not (project / "students").exists()


def test_an_output_path_below_a_file_is_rejected(project: Path, vicur: Command) -> None:
    (project / "file").write_text("mine")
    result = vicur("data", "prepare", "--config", "small.yaml", "-o", "file/data")
    assert result.code == 2
    assert "file/data" in result.error
    assert "Traceback" not in result.error
    assert (project / "file").read_text() == "mine"


def test_a_folder_with_other_files_is_never_replaced(project: Path, vicur: Command) -> None:
    (project / "home").mkdir()
    (project / "home" / "thesis.tex").write_text("precious")
    for command in (
        ["data", "prepare", "--config", "small.yaml", "-o", "home"],
        ["base", "train", "home"],
        ["evaluate", "tiny", "-o", "home"],
    ):
        result = vicur(*command)
        assert result.code == 2
        assert "the output folder contains other files, which would be lost" in result.error
    assert (project / "home" / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("extra", ["thesis.tex", "sub/notes.txt"])
def test_an_earlier_output_with_extra_files_is_not_replaced(dataset: Path, vicur: Command, extra: str) -> None:
    (dataset / extra).parent.mkdir(exist_ok=True)
    (dataset / extra).write_text("precious")
    result = vicur("data", "prepare", "--config", "small.yaml", "--set", "seed=1")
    assert (result.code, (dataset / extra).read_text()) == (2, "precious")
    assert f"would be lost: {extra.partition('/')[0]}." in result.error
    (dataset / extra).unlink()


def test_an_input_folder_is_never_replaced(project: Path, vicur: Command) -> None:
    (project / "mine" / "inner").mkdir(parents=True)
    (project / "mine" / "inner" / "examples.jsonl").write_text("{}")
    for output in ("mine", "mine/inner"):
        result = vicur("data", "prepare", "-o", output, "--set", "data.type=folder", "--set", "data.path=mine/inner")
        assert result.code == 2
        assert "the output folder contains the source that is read (mine/inner), which would be lost" in result.error
    assert (project / "mine" / "inner" / "examples.jsonl").read_text() == "{}"


def test_a_missing_input_is_reported_with_its_path(vicur: Command) -> None:
    result = vicur("evaluate", "students/none", "-o", "e", "--dataset", "nowhere")
    assert result.code == 2
    assert "nowhere" in result.error
    assert "Traceback" not in result.error


def test_a_student_without_its_evaluation_is_rejected(vicur: Command) -> None:
    result = vicur("compare", "--base", "b", "--student", "vicur", "-o", "c")
    assert result.code == 2
    assert "METHOD=EVALUATION" in result.error


def test_the_version_is_shown(vicur: Command) -> None:
    assert vicur("--version").output.startswith("vicur 0.")


def test_an_unreachable_tracking_server_is_reported_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text("the old one")
    run = subprocess.run(
        [sys.executable, "-m", "vicur", "data", "prepare", "--config", "small.yaml"],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert "http://127.0.0.1:9" in run.stderr
    assert "Start the server" in run.stderr
    assert "Traceback" not in run.stderr
    assert (tmp_path / "data" / "manifest.json").read_text() == "the old one"
