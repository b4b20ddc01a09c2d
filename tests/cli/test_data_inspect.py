"""``vicur data inspect``: from a folder of someone's own to a prepared dataset."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from tests.data.conftest import png
from tests.data.formats.reading import write
from vicur.cli import app
from vicur.errors import VicurError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["data", *arguments])
    if isinstance(result.exception, VicurError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def _noise(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs each command in an empty folder, where it keeps its metrics."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos and a table that a spreadsheet wrote, with names of columns in German."""
    rows = "".join(f"{n + 1};IMG_{n}.png;Wie viele Tassen sind da?;{n}\r\n" for n in range(12))
    files = {f"bilder/IMG_{n}.png": png(40 + n, 30, (20 * n, 90, 0)) for n in range(12)}
    return write(
        tmp_path / "photos", {"fragen.csv": f"\ufeffNr;Foto;Frage;Lösung\r\n{rows}13;keins.png;Was?;1\r\n", **files}
    )


def test_unknown_columns_are_guessed_and_the_printed_section_prepares_the_dataset(photos: Path, tmp_path: Path) -> None:
    text = run("inspect", str(photos))
    section = yaml.safe_load(text.partition("\n\n")[0])
    assert section["data"]["fields"] == {"question": "Frage", "images": "Foto", "answer": "Lösung"}
    assert section["data"]["splits"] == {"distill": 0.8, "validation": 0.1, "test": 0.1}
    for shown in (
        "40 x 30",
        "Wie viele Tassen sind da?",
        "'keins.png' does not exist",
        "were guessed from their values",
    ):
        assert shown in text
    (tmp_path / "run.yaml").write_text(text.partition("\n\n")[0])
    output = tmp_path / "data"
    run(
        "prepare",
        "-c",
        str(tmp_path / "run.yaml"),
        "-o",
        str(output),
        "--set",
        "data.max_skipped_share=0.1",
        "--no-cache",
    )
    counts = json.loads((output / "manifest.json").read_text())["examples"]
    assert sum(counts.values()) == 12
    assert set(counts) == {"distill", "validation", "test"}


def test_a_path_is_enough_to_prepare_a_source_that_is_recognised(tmp_path: Path) -> None:
    rows = [{"problem": f"How many {n}?", "solution": n, "image": f"{n % 10}.png", "pid": n} for n in range(30)]
    # Noise, because images that look the same are one group.
    images = {f"images/{n}.png": _noise(n) for n in range(11)}
    test = [{**rows[0], "image": "10.png", "pid": 99}]
    source = write(tmp_path / "mine", {"train.jsonl": rows, "test.json": test, **images})
    output = tmp_path / "data"
    run(
        "prepare",
        "--set",
        f"data={source}",
        "--set",
        "data.splits={train: distill, test: test}",
        "-o",
        str(output),
        "--no-cache",
    )
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["source"]["format"] == "json"
    # Validation is shared out of the ten images of the training data.
    assert manifest["examples"].keys() == {"distill", "validation", "test"}
    assert (manifest["examples"]["test"], sum(manifest["examples"].values())) == (1, 31)


def test_json_has_all_that_is_printed(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"query": "Which?", "options": ["x", "y"], "gt": gt, "level": 3} for gt in (1, 0, 1)]
    write(tmp_path, {"data/dev.jsonl": [*rows, {"query": "Which?"}]})
    found = json.loads(run("inspect", str(tmp_path), "--json", "--rows", "1"))
    assert (found["format"], found["read"], found["usable"]) == ("jsonl", 4, 3)
    assert found["columns"] == {"question": "query", "choices": "options", "answer": "gt"}
    assert (found["unused"], found["splits"]) == (["level"], {"dev": "validation"})
    [row] = found["rows"]
    assert (row["split"], row["choices"], row["answer"]) == ("validation", ["x", "y"], "y")
    [skipped] = found["skipped"]
    assert (skipped["row"], skipped["field"], skipped["reason"]) == (4, "answer", "is missing")
    unsure = " ".join(found["unsure"])
    for doubt in (
        "No column has images",
        "No column has ids",
        "count choices from 0",
        "no rows for the split distill, test",
    ):
        assert doubt in unsure


def test_a_single_file_stands_for_its_folder(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": "question,answer\nA?,1\n", "b.csv": "question,answer\nB?,2\n"})
    found = json.loads(run("inspect", str(tmp_path / "b.csv"), "--json"))
    assert found["config"]["files"] == ["b.csv"]
    assert [row["question"] for row in found["rows"]] == ["B?"]


def test_settings_change_the_reading(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": "question,answer,other\nA?,1,Z?\n"})
    found = json.loads(run("inspect", str(tmp_path), "--set", "data.fields.question=other", "--json"))
    assert found["rows"][0]["question"] == "Z?"


@pytest.mark.parametrize(
    ("source", "message"),
    [("missing", "is not a folder"), (".", "has no data files"), ("s3://B", "is not an S3 address")],
)
def test_what_cannot_be_inspected_is_an_error(source: str, message: str) -> None:
    with pytest.raises(VicurError, match=message):
        run("inspect", source)
