"""`inspect` of a source at an address fetches the listing, the beginnings of a few data files, and the images of the rows that it shows."""

from __future__ import annotations

import io
import json
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.conftest import upload
from tests.data.formats.reading import BLUE, RED, lines
from tests.data.layouts import LAYOUTS
from tests.weights.hub_double import COMMIT, REPOSITORY, Hub, serving
from vicur.config.data import FolderConfig, HubConfig, RemoteConfig
from vicur.data import excerpt
from vicur.data.excerpt import ExcerptFolder
from vicur.data.formats import SourceFolder
from vicur.data.inspection import Inspection, inspect
from vicur.data.sources import source_of
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.storage.object_store import objects_at

MB = 1 << 20


@pytest.fixture(autouse=True)
def small_excerpts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes all limits a hundredth of what they are, so that small files are large."""
    for name, size in (("MOST", 3 * MB), ("_TEXT", 10_000), ("_WHOLE", 160_000), ("_TAR", 100_000), ("_BUFFER", 4096)):
        monkeypatch.setattr(excerpt, name, size)


def _noise(seed: int, count: int) -> str:
    return random.Random(seed).randbytes(count // 2).hex()  # noqa: S311


def _inspected(folder: Path, work: Path) -> tuple[Inspection, int]:
    """Inspect a folder as if it were at an address. Returns the number of bytes that are read of it, too."""
    objects = objects_at(str(folder))
    read = []

    def ranged(name: str, start: int, count: int) -> bytes:
        read.append(count)
        return objects.read_range(name, start, count)

    source = ExcerptFolder(work, {each.key: each.size for each in objects.all()}, ranged)
    return inspect(source, FolderConfig(path=work)), sum(read)


def _rows(count: int, size: int) -> list[dict[str, object]]:
    return [
        {"id": n, "question": f"How many {n}?", "answer": n, "image": f"{n}.png", "text": _noise(n, size)}
        for n in range(count)
    ]


def _jsonl(folder: Path, rows: list[dict[str, object]]) -> None:
    (folder / "train.jsonl").write_text(lines(rows))


def _csv(folder: Path, rows: list[dict[str, object]]) -> None:
    # Values with line ends in quotes, of which none may be cut off.
    text = "".join(
        f'{row["id"]},"{row["question"]}\n",{row["answer"]},{row["image"]},"{row["text"]}\n"\n' for row in rows
    )
    (folder / "train.csv").write_text(f"id,question,answer,image,text\n{text}")


def _json(folder: Path, rows: list[dict[str, object]]) -> None:
    (folder / "train.json").write_text(json.dumps(rows, indent=1))


def _parquet(folder: Path, rows: list[dict[str, object]]) -> None:
    pq.write_table(
        pa.Table.from_pylist(rows),
        folder / "train.parquet",
        data_page_size=8192,
        write_batch_size=8,
        use_dictionary=False,
    )


@pytest.mark.parametrize("write", [_jsonl, _csv, _json, _parquet])
def test_only_the_first_rows_of_a_large_file_are_fetched(write: Callable[..., None], tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write(source, _rows(600, 2000))
    for n in range(600):
        (source / f"{n}.png").write_bytes(RED)
    found, fetched = _inspected(source, tmp_path / "work")
    size = sum(path.stat().st_size for path in source.iterdir())
    assert size > 700_000
    assert fetched < size / 2
    assert found.usable == found.read >= 1
    assert found.rows[0].question.strip() == "How many 0?"
    assert "MB, of" in found.fetched


def test_large_rows_are_fetched_to_their_end(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    _jsonl(tmp_path / "source", _rows(10, 30_000))
    (tmp_path / "source" / "0.png").write_bytes(BLUE)
    found, fetched = _inspected(tmp_path / "source", tmp_path / "work")
    assert (found.read, found.usable) == (1, 1)
    assert fetched < 90_000


def test_shards_are_represented_by_two(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for n in range(30):
            path = tmp_path / "source" / f"{split}-{n:05}-of-00030.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text(lines([{"id": f"{split}{n}", "question": "What?", "answer": 1, "image": "a.png"}]))
    (tmp_path / "source" / "a.png").write_bytes(RED)
    found, _ = _inspected(tmp_path / "source", tmp_path / "work")
    assert (found.read, found.splits) == (4, {"test": "test", "train": "distill"})
    assert found.fetched.endswith("of 5 of 61 files")


def test_images_in_a_zip_are_fetched_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    _jsonl(tmp_path / "source", _rows(3, 10))
    with zipfile.ZipFile(tmp_path / "source" / "images.zip", "w") as archive:
        archive.writestr("large.bin", bytes(1_000_000))
        for n in range(3):
            archive.writestr(f"{n}.png", BLUE)
    found, fetched = _inspected(tmp_path / "source", tmp_path / "work")
    assert found.usable == 3
    assert fetched < 200_000


def test_a_tar_is_fetched_up_to_a_whole_member(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with tarfile.open(tmp_path / "source" / "train-0.tar", "w") as archive:
        for n in range(300):
            for name, data in (
                (f"{n}.json", json.dumps({"question": "What?", "answer": n}).encode()),
                (f"{n}.png", RED),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    found, fetched = _inspected(tmp_path / "source", tmp_path / "work")
    assert (found.format, found.read, found.usable) == ("webdataset", 40, 40)
    assert fetched < 110_000


def test_no_more_than_the_limit_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpt, "MOST", 20_000)
    (tmp_path / "source").mkdir()
    _jsonl(tmp_path / "source", _rows(10, 30_000))
    with pytest.raises(VicurError, match="more than 0 MB would have to be fetched"):
        _inspected(tmp_path / "source", tmp_path / "work")


@pytest.mark.parametrize("name", ["llava", "vqav2", "geometry3k", "mmmu"])
def test_layouts_are_recognised_by_their_excerpts(name: str, tmp_path: Path) -> None:
    next(layout for layout in LAYOUTS if layout.name == name).write(tmp_path / "source", count=3)
    found, _ = _inspected(tmp_path / "source", tmp_path / "work")
    whole = inspect(SourceFolder(tmp_path / "source"), FolderConfig(path=tmp_path / "source"))
    assert (found.format, found.splits, found.skipped) == (whole.format, whole.splits, [])
    assert found.rows[0] == whole.rows[0]


def test_a_source_on_s3_is_read_in_part(bucket: object, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    _jsonl(tmp_path / "source", [{**row, "image": "s3://bucket/data/0.png"} for row in _rows(100, 2000)])
    (tmp_path / "source" / "0.png").write_bytes(RED)
    config = RemoteConfig(uri=upload(tmp_path / "source", bucket, "data"))
    source = source_of(config).excerpt(config, tmp_path / "work", Events("inspect", None))
    found = inspect(source, config)
    assert found.usable == found.read > 1
    assert found.fetched == "0.0 of 0.2 MB, of 2 of 2 files"
    assert found.config["uri"] == config.uri


def test_a_dataset_on_the_hub_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").mkdir()
    _jsonl(tmp_path / "source", _rows(100, 2000))
    files = {"train.jsonl": (tmp_path / "source" / "train.jsonl").read_bytes(), "0.png": RED, "1.png": RED}
    config = HubConfig(repository=REPOSITORY, revision=COMMIT)
    with serving(Hub(files, kind="datasets")) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        source = source_of(config).excerpt(config, tmp_path / "work", Events("inspect", None))
        found = inspect(source, config)
    assert found.usable == 2
    assert found.fetched == "0.0 of 0.2 MB, of 3 of 3 files"
