"""Reading a split in parts: the same examples and errors as reading it at once, in bounded memory."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from tests.data.conftest import png
from vicur.data import Example, read_examples
from vicur.data.dataset import DatasetWriter
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "data"))


def test_a_split_is_the_sequence_of_its_examples(small: Path) -> None:
    examples, split = read_examples(small, "test"), StoredSplit(small, "test")
    assert len(split) == len(examples) == 270
    assert [group.rows for group in split.groups] == [250, 20]
    assert list(split) == examples
    assert [split[row] for row in (0, 249, 250, 269, -1)] == [examples[row] for row in (0, 249, 250, 269, -1)]
    assert list(split[245:255]) == examples[245:255]
    assert list(split[:300][-3:]) == examples[-3:]
    assert list(split.of_groups([1])) == examples[250:]
    with pytest.raises(IndexError):
        split[270]


def test_several_files_are_one_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicur.data.shards.BYTES_PER_SHARD", 2 * len(png()))
    folder = _write(tmp_path, [_example(str(number)) for number in range(5)])
    split = StoredSplit(folder, "test")
    assert len(split.groups) == 3
    assert [example.id for example in split] == list("01234")
    assert split[3].id == "3"


def test_the_cache_is_bounded_and_other_columns_are_not_read(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, object]] = []
    split = StoredSplit(small, "test", cache_bytes=1)
    original = split._read
    monkeypatch.setattr(
        split, "_read", lambda number, columns: (read.append((number, columns)), original(number, columns))[1]
    )
    ids = split.columns("id", "question")
    assert ids["id"].to_pylist() == [example.id for example in read_examples(small, "test")]
    assert [columns for _, columns in read] == [("id", "question")] * 2
    for row in (0, 1, 260, 2):  # a cache that is too small keeps one group
        assert split[row].id == ids["id"][row].as_py()
    assert [number for number, _ in read[2:]] == [0, 1, 0]


def test_rows_can_be_loaded_ahead_in_another_thread(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = StoredSplit(small, "test")
    thread = threading.Thread(target=split.load, args=([3, 255, 4],))
    thread.start()
    thread.join()
    monkeypatch.setattr(split, "_read", lambda *_: pytest.fail("the group was loaded before"))
    assert (split[100].id, split[269].id) == (
        read_examples(small, "test")[100].id,
        read_examples(small, "test")[269].id,
    )


def test_an_empty_split_has_no_examples(tmp_path: Path) -> None:
    folder = _write(tmp_path, [_example("a")])
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["examples"]["ood"] = 0
    (folder / "manifest.json").write_text(json.dumps(manifest))
    split = StoredSplit(folder, "ood")
    assert (len(split), list(split), split.columns("id").num_rows) == (0, [], 0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"test-00000\.parquet: is missing, but listed"),
        (lambda path: path.write_bytes(b"x"), r"test-00000\.parquet: is not a readable parquet file"),
        (
            lambda path: shutil.copy(path.with_name("ood-00000.parquet"), path),
            r"has 6 rows, but manifest.json lists 270",
        ),
    ],
)
def test_a_damaged_file_is_an_error_when_the_split_is_opened(copy: Path, damage: object, message: str) -> None:
    damage(copy / "test-00000.parquet")  # type: ignore[operator]
    with pytest.raises(VicurError, match=message):
        StoredSplit(copy, "test")


def test_a_flipped_bit_and_a_row_of_another_split_are_errors_that_name_the_rows(copy: Path) -> None:
    file = copy / "test-00000.parquet"
    content = bytearray(file.read_bytes())
    content[content.index(b"\x89PNG", len(content) // 2) + 30] ^= 1
    file.write_bytes(content)
    split = StoredSplit(copy, "test")
    with pytest.raises(VicurError, match=r"test-00000\.parquet:rows 1 to 250: cannot be decoded"):
        split[4]
    manifest = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(manifest.replace('"split": "ood"', '"split": "base"'))
    with pytest.raises(VicurError, match=r"row 2:split: belongs to split ood, but the file to split base"):
        StoredSplit(copy, "base")[19]


def test_a_missing_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"has no split 'ood'; it has test\."):
        StoredSplit(_write(tmp_path, [_example("a")]), "ood")


def _example(name: str) -> Example:
    return Example(id=name, images=(png(),), question="What?", answer="4", source="test", split="test")


def _write(folder: Path, examples: list[Example]) -> Path:
    writer = DatasetWriter(folder)
    for example in examples:
        writer.add(example)
    writer.finish({"type": "folder"}, None, 0)
    return folder
