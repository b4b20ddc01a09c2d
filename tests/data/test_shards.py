import itertools
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicur.config.data import SPLITS
from vicur.data import Example, shards
from vicur.data.shards import ROWS_PER_GROUP, SCHEMA, ShardWriter, read_shard
from vicur.errors import VicurError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FILLED = TEXTS.filter(str.strip)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
EXAMPLES = st.builds(
    Example,
    id=FILLED,
    images=st.lists(st.binary(max_size=50), max_size=3).map(tuple),
    question=FILLED,
    answer=FILLED,
    rationale=st.none() | TEXTS,
    cue=st.none() | TEXTS,
    source=TEXTS,
    split=st.sampled_from(SPLITS),
    metadata=st.dictionaries(TEXTS, JSON, max_size=3),
)


def _example(number: int) -> Example:
    return Example(
        id=f"e{number}", images=(b"image %d" % number,), question="What?", answer="1", source="test", split="test"
    )


def _write(path: Path, examples: list[Example]) -> Path:
    writer = ShardWriter(path)
    for example in examples:
        writer.add(example)
    writer.close()
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards") / "test-00000.parquet"


@given(st.lists(EXAMPLES, max_size=4))
def test_examples_survive_a_round_trip(place: Path, examples: list[Example]) -> None:
    assert list(read_shard(_write(place, examples))) == examples


def test_choices_keep_their_order(place: Path) -> None:
    example = _example(0).model_copy(update={"choices": ("two", "one"), "answer": "B"})
    assert next(read_shard(_write(place, [example]))).choices == ("two", "one")


def test_the_same_examples_give_the_same_bytes(tmp_path: Path) -> None:
    examples = [_example(number) for number in range(2 * ROWS_PER_GROUP + 7)]
    one, other = _write(tmp_path / "one.parquet", examples), _write(tmp_path / "other.parquet", examples)
    assert one.read_bytes() == other.read_bytes()


def test_a_shard_has_nothing_that_an_encoder_may_choose(tmp_path: Path) -> None:
    file = pq.ParquetFile(_write(tmp_path / "x.parquet", [_example(n) for n in range(ROWS_PER_GROUP + 1)]))
    assert list(file.metadata.metadata) == [b"huggingface"]
    assert file.num_row_groups == 2
    assert file.metadata.row_group(0).num_rows == ROWS_PER_GROUP
    for number in range(file.metadata.num_columns):
        column = file.metadata.row_group(0).column(number)
        assert column.compression == "UNCOMPRESSED"
        assert not column.has_dictionary_page
        assert not column.is_stats_set
    assert re.fullmatch(r"parquet-cpp-arrow version [\d.]+", file.metadata.created_by)


def test_the_metadata_describes_the_features_to_datasets(tmp_path: Path) -> None:
    schema = pq.read_schema(_write(tmp_path / "x.parquet", [_example(0)]))
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["images"] == {"feature": {"_type": "Image"}, "_type": "List"}
    # datasets uses a feature only if the column has exactly its type and is nullable.
    assert schema.equals(SCHEMA)
    assert all(field.nullable for field in schema)
    assert str(schema.field("images").type) == "list<element: struct<bytes: binary, path: string>>"


def test_a_flipped_bit_is_located(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.parquet", [_example(number) for number in range(300)])
    data = bytearray(path.read_bytes())
    data[data.index(b"image 280")] ^= 1
    path.write_bytes(data)
    rows = read_shard(path)
    assert [next(rows).id for _ in range(ROWS_PER_GROUP)][-1] == "e249"
    with pytest.raises(VicurError, match=r"x\.parquet:rows 251 to 300: cannot be decoded"):
        next(rows)


def test_a_truncated_file_is_rejected(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.parquet", [_example(0)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(VicurError, match=r"x\.parquet: is not a readable parquet file .*vicur data prepare"):
        list(read_shard(path))


def test_a_table_with_other_columns_is_rejected(tmp_path: Path) -> None:
    pq.write_table(pq.read_table(_write(tmp_path / "x.parquet", [_example(0)])).select(["id"]), tmp_path / "y.parquet")
    with pytest.raises(VicurError, match=r"y\.parquet: does not have the columns of a dataset's shard, but id\."):
        list(read_shard(tmp_path / "y.parquet"))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("metadata", "{", r"x\.parquet:row 2: is not an example"),
        ("answer", None, r"x\.parquet:row 2:answer: is not text"),
        ("split", "train", r"x\.parquet:row 2:split: 'train' is not a split"),
        ("images", None, r"x\.parquet:row 2: is not an example"),
    ],
)
def test_an_invalid_row_is_reported_by_number(tmp_path: Path, column: str, value: str | None, message: str) -> None:
    rows = pq.read_table(_write(tmp_path / "x.parquet", [_example(0), _example(1)])).to_pylist()
    rows[1][column] = value
    pq.write_table(SCHEMA.empty_table().from_pylist(rows, schema=SCHEMA), tmp_path / "x.parquet")
    with pytest.raises(VicurError, match=message):
        list(read_shard(tmp_path / "x.parquet"))


@given(
    sizes=st.lists(st.integers(0, 40), max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    rows=st.integers(1, 7),
    size=st.integers(1, 60),
)
def test_tables_give_the_same_bytes_as_examples(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], cuts: list[int], rows: int, size: int
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "ROWS_PER_GROUP", rows)
        patch.setattr(shards, "BYTES_PER_GROUP", size)
        images = [tuple(bytes(n) for n in (length // 2, length - length // 2)[: length % 3]) for length in sizes]
        examples = [_example(n).model_copy(update={"images": each}) for n, each in enumerate(images)]
        one = _write(folder / "one.parquet", examples)
        writer = ShardWriter(folder / "other.parquet")
        table = pq.read_table(one).replace_schema_metadata(None)
        bounds = [0, *sorted(min(cut, len(examples)) for cut in cuts), len(examples)]
        for begin, end in itertools.pairwise(bounds):
            writer.extend(table.slice(begin, end - begin))
        writer.close()
    assert (folder / "other.parquet").read_bytes() == one.read_bytes()
    metadata = pq.ParquetFile(one).metadata
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert sum(groups) == len(examples)
    assert all(count <= rows for count in groups)


def test_a_row_group_of_large_images_is_closed_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BYTES_PER_GROUP", 20)
    path = _write(tmp_path / "x.parquet", [_example(number) for number in range(5)])  # 7 bytes each
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [3, 2]
