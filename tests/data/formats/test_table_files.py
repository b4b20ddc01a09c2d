"""Parquet shards, folders of save_to_disk, and dataset folders of the Hugging Face Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.formats.reading import BLUE, RED, examples, reading, rows, splits, write
from vicur.data.formats import table_files, tables
from vicur.errors import VicurError

FEATURES = {
    "image": {"_type": "Image"},
    "question": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
}


def table(*labels: int, prefix: str = "Q") -> pa.Table:
    """Return rows as Hugging Face's datasets stores them: an image as bytes and path, and a class as its number."""
    values = [
        {"image": {"bytes": (RED, BLUE)[label], "path": f"{n}.png"}, "question": f"{prefix}{n}?", "label": label}
        for n, label in enumerate(labels)
    ]
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("question", pa.string()),
            ("label", pa.int64()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
    )
    return pa.Table.from_pylist(values, schema=schema)


def parquet(folder: Path, name: str, content: pa.Table, **settings: Any) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, folder / name, **settings)


def arrow(folder: Path, name: str, content: pa.Table, rows_per_batch: int = 1000) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, content.schema) as writer:
        writer.write_table(content, max_chunksize=rows_per_batch)


def test_parquet_shards_have_the_split_of_their_names(tmp_path: Path) -> None:
    parquet(tmp_path, "data/train-00000-of-00002.parquet", table(0, 1))
    parquet(tmp_path, "data/train-00001-of-00002.parquet", table(1))
    parquet(tmp_path, "data/test-00000-of-00001.parquet", table(0))
    assert reading(tmp_path).format_name == "parquet"
    read = examples(tmp_path)
    assert [(each.answer, each.images) for each in read] == [
        ("cat", (RED,)),
        ("cat", (RED,)),
        ("dog", (BLUE,)),
        ("dog", (BLUE,)),
    ]
    assert splits(tmp_path) == ["test", "distill", "distill", "distill"]
    assert read[0].id == "data/test-00000-of-00001.parquet:1"


@pytest.mark.parametrize("group", [2, 5, 100])
def test_units_cover_row_groups_and_parts_of_large_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    monkeypatch.setattr(tables, "UNIT_ROWS", 3)
    monkeypatch.setattr(tables, "BATCH", 2)
    parquet(tmp_path, "a.parquet", table(*[0] * 11), row_group_size=group)
    assert [each.question for each in examples(tmp_path)] == [f"Q{n}?" for n in range(11)]
    assert max(unit.rows for unit in reading(tmp_path).units()) <= 3


def test_a_damaged_shard_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    parquet(tmp_path, "data/train-0.parquet", table(0))
    write(tmp_path, {"data/train-1.parquet": b"PAR1 cut"})
    with pytest.raises(VicurError, match=r"train-1\.parquet: cannot be read as parquet"):
        rows(tmp_path)


def test_a_saved_dataset_without_its_cached_files(tmp_path: Path) -> None:
    for split, labels in (("train", (0, 1, 1)), ("test", (0,))):
        arrow(tmp_path, f"{split}/data-00000-of-00001.arrow", table(*labels, prefix=split), 2)
        arrow(tmp_path, f"{split}/cache-1b2c.arrow", table(0, prefix="stale"))
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "f", "_split": split}
        write(tmp_path, {f"{split}/state.json": state, f"{split}/dataset_info.json": {"features": FEATURES}})
    write(tmp_path, {"dataset_dict.json": {"splits": ["train", "test"]}})
    assert reading(tmp_path).format_name == "arrow"
    read = examples(tmp_path)
    assert [each.question for each in read] == ["test0?", "train0?", "train1?", "train2?"]
    assert (read[2].answer, read[2].images) == ("dog", (BLUE,))
    assert splits(tmp_path) == ["test", "distill", "distill", "distill"]
    (tmp_path / "train" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(VicurError, match=r"lists 'data-00000-of-00001\.arrow', which is missing"):
        rows(tmp_path)


def test_units_of_an_arrow_file_are_whole_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "UNIT_ROWS", 3)
    arrow(tmp_path, "a.arrow", table(*[0] * 7), 2)
    assert [unit.rows for unit in reading(tmp_path).units()] == [4, 3]
    assert [each.question for each in examples(tmp_path)] == [f"Q{n}?" for n in range(7)]


def test_an_arrow_file_in_the_random_access_form_and_a_damaged_one(tmp_path: Path) -> None:
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table(0).schema) as writer:
        writer.write_table(table(0, 1))
    assert [each.answer for each in examples(tmp_path)] == ["cat", "dog"]
    write(tmp_path, {"a.arrow": b"not arrow" * 9})
    with pytest.raises(VicurError, match=r"a\.arrow: cannot be read as Arrow"):
        rows(tmp_path)


CARD = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: "geometry/part-*.parquet"
  - split: testmini
    path: [more/mini.jsonl]
- config_name: extra
  data_files: extra.csv
---
# A dataset
"""


def test_a_card_lists_files_and_splits(tmp_path: Path) -> None:
    parquet(tmp_path, "geometry/part-0.parquet", table(0))
    parquet(tmp_path, "geometry/part-1.parquet", table(1))
    parquet(tmp_path, "unlisted/x.parquet", table(1))
    script = "raise SystemExit('a loading script must not run')"
    write(
        tmp_path,
        {
            "README.md": CARD,
            "more/mini.jsonl": [{"query": "How many?", "gt": 3, "pid": 12}],
            "extra.csv": "question,answer\nA?,1\n",
            f"{tmp_path.name}.py": script,
        },
    )
    assert reading(tmp_path).format_name == "huggingface"
    assert [(each.id, each.answer) for each in examples(tmp_path)] == [
        ("geometry/part-0.parquet:1", "cat"),
        ("geometry/part-1.parquet:1", "dog"),
        ("12", "3"),
    ]
    assert splits(tmp_path) == ["distill", "distill", "test"]
    assert [each.question for each in examples(tmp_path, subset="extra")] == ["A?"]
    with pytest.raises(VicurError, match=r"has no configuration 'extr'\. Set data\.subset to one of default, extra"):
        rows(tmp_path, subset="extr")


def test_several_configurations_without_a_default_must_be_chosen(tmp_path: Path) -> None:
    card = CARD.replace("config_name: default", "config_name: first")
    write(tmp_path, {"README.md": card, "extra.csv": "question,answer\nA?,1\n"})
    with pytest.raises(VicurError, match=r"has several configurations\. Set data\.subset to one of first, extra"):
        reading(tmp_path)


@pytest.mark.parametrize("card", ["# No header", "---\nconfigs: 7\n---\n", "---\n{[\n---\n", "---\n- a\n---\n"])
def test_a_card_without_data_files_changes_nothing(tmp_path: Path, card: str) -> None:
    write(tmp_path, {"README.md": card, "train.csv": "question,answer\nA?,1\n"})
    assert reading(tmp_path).format_name == "csv"
