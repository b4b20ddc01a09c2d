import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.conftest import png
from vicur.data import Example, read_examples, read_manifest, shards, verify
from vicur.data.dataset import DatasetWriter
from vicur.errors import VicurError
from vicur.storage.folders import file_sha256


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    """A copy of the small dataset that may be damaged."""
    return Path(shutil.copytree(small, tmp_path / "data"))


def _example(name: str, image: bytes | None = None, split: str = "test") -> Example:
    images = (png() if image is None else image,)
    return Example(id=name, images=images, question="What?", answer="1", source="test", split=split)


def _write(folder: Path, *examples: Example) -> Path:
    folder.mkdir()
    writer = DatasetWriter(folder)
    for example in examples:
        writer.add(example)
    writer.finish({"type": "folder"}, None, 0)
    return folder


def test_the_manifest_counts_and_hashes(small: Path) -> None:
    manifest = read_manifest(small)
    assert manifest.schema_version == 1
    assert manifest.examples == {"base": 18, "distill": 12, "validation": 6, "test": 270, "ood": 6}
    assert manifest.seed == 0
    assert manifest.source["type"] == "digit_scenes"
    assert manifest.source["test"]["scenes"] == 90
    for shard in manifest.shards:
        assert file_sha256(small / shard.file) == shard.sha256
        assert len(read_examples(small, shard.split)) == shard.rows


def test_all_examples_are_read_split_by_split(small: Path) -> None:
    everything = read_examples(small)
    assert len(everything) == 312
    assert read_examples(small, "ood") == everything[-6:]


def test_only_shards_of_the_requested_split_are_opened(copy: Path) -> None:
    (copy / "base-00000.parquet").write_bytes(b"broken")
    assert len(read_examples(copy, "validation")) == 6
    with pytest.raises(VicurError, match=r"base-00000\.parquet: is not a readable parquet file"):
        read_examples(copy)


def test_a_large_split_is_written_in_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BYTES_PER_SHARD", 2 * len(png()))
    examples = [_example(str(number)) for number in range(5)]
    folder = _write(tmp_path / "data", *examples, _example("b", split="base"))
    assert [(shard.file, shard.rows) for shard in read_manifest(folder).shards] == [
        ("base-00000.parquet", 1),
        ("test-00000.parquet", 2),
        ("test-00001.parquet", 2),
        ("test-00002.parquet", 1),
    ]
    assert read_examples(folder, "test") == examples


def test_the_card_lists_the_files_of_each_split(small: Path) -> None:
    header = (small / "README.md").read_text().split("---")[1]
    assert "  - split: validation\n    path: validation-*.parquet\n" in header


def test_an_intact_dataset_passes(small: Path) -> None:
    verification = verify(small)
    assert verification.dataset_hash.endswith(".dir")
    assert verification.examples == read_manifest(small).examples


def _drop_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _garble_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def _later_version(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 2, "new": True}))


def _drop_count(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["examples"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_manifest, r"data: is not a dataset: it has no manifest\.json\. Build the dataset again"),
        (_garble_manifest, r"manifest\.json: is not valid JSON\."),
        (_later_version, r"manifest\.json: has schema version 2, but this release reads version 1\."),
        (_drop_count, r"manifest\.json:examples: is missing\."),
    ],
)
def test_an_unreadable_manifest_is_reported(copy: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(copy)
    with pytest.raises(VicurError, match=message):
        read_examples(copy)


def test_a_missing_split_is_reported_with_the_existing_ones(tmp_path: Path) -> None:
    folder = _write(tmp_path / "data", _example("a"))
    with pytest.raises(VicurError, match=r"data: has no split 'ood'; it has test\."):
        read_examples(folder, "ood")


def test_a_missing_shard_is_reported(copy: Path) -> None:
    (copy / "ood-00000.parquet").unlink()
    with pytest.raises(VicurError, match=r"ood-00000\.parquet: is missing"):
        read_examples(copy)


def test_a_shard_of_another_split_is_reported(copy: Path) -> None:
    shutil.copy(copy / "ood-00000.parquet", copy / "validation-00000.parquet")
    with pytest.raises(
        VicurError,
        match=r"validation-00000\.parquet:row 1:split: belongs to split ood, but the file to split validation",
    ):
        read_examples(copy, "validation")


def test_a_shard_with_fewer_rows_is_reported(copy: Path, tmp_path: Path) -> None:
    shorter = _write(tmp_path / "other", _example("a", split="ood"))
    shutil.copy(shorter / "ood-00000.parquet", copy / "ood-00000.parquet")
    with pytest.raises(VicurError, match=r"ood-00000\.parquet: has 1 rows, but manifest\.json lists 6"):
        read_examples(copy, "ood")


def test_verify_finds_a_flipped_bit_anywhere_in_a_shard(copy: Path) -> None:
    path = copy / "ood-00000.parquet"
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(VicurError, match=r"ood-00000\.parquet"):
            verify(copy)
    path.write_bytes(whole)
    verify(copy)


def test_verify_finds_an_image_that_does_not_decode(tmp_path: Path) -> None:
    folder = _write(tmp_path / "data", _example("a"), _example("b", image=png()[:-20]))
    with pytest.raises(VicurError, match=r"test-00000\.parquet:row 2:images\[0\]: is a damaged image"):
        verify(folder)


def test_verify_finds_an_id_that_is_used_twice(tmp_path: Path) -> None:
    folder = _write(tmp_path / "data", _example("a", split="ood"), _example("a"))
    with pytest.raises(VicurError, match=r"row 1:id: the id 'a' is already used in .*test-00000\.parquet:row 1"):
        verify(folder)


def test_verify_finds_a_shard_that_the_manifest_does_not_list(copy: Path) -> None:
    shutil.copy(copy / "ood-00000.parquet", copy / "ood-00001.parquet")
    with pytest.raises(VicurError, match=r"ood-00001\.parquet: is not listed in manifest\.json"):
        verify(copy)


def test_several_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS_PER_SHARD", 3)
    monkeypatch.setattr("vicur.data.verification._ROWS_PER_PROCESS", 1)
    monkeypatch.setattr("vicur.data.verification.default_processes", lambda: 2)
    good = _write(tmp_path / "good", *(_example(str(number)) for number in range(8)))
    assert verify(good).examples == {"test": 8}
    repeated = _write(tmp_path / "repeated", *(_example(str(number % 7)) for number in range(8)))
    with pytest.raises(
        VicurError, match=r"test-00002\.parquet:row 2:id: the id '0' is already used in .*test-00000\.parquet:row 1"
    ):
        verify(repeated)
    damaged = _write(tmp_path / "damaged", *(_example(str(n), image=png()[:-20] if n == 4 else None) for n in range(8)))
    with pytest.raises(VicurError, match=r"test-00001\.parquet:row 2:images\[0\]: is a damaged image"):
        verify(damaged)
