"""Parquet shards of examples, whose bytes depend only on the examples and on pyarrow's release.

:mod:`vicur.data.parquet` fixes what an encoder may choose, and row groups have a fixed size. What remains is pyarrow's release, which it
writes into each file (``created_by: parquet-cpp-arrow version ...``) and constraints.txt pins.

The ``huggingface`` metadata entry makes the ``datasets`` library decode the images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from vicur.data.parquet import SETTINGS
from vicur.data.schema import Example, Fault, encode_metadata
from vicur.errors import VicurError
from vicur.wording import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS_PER_GROUP = 250
# What a reader holds in memory at a time. Only images of more than 128 KiB reach it before ROWS_PER_GROUP.
BYTES_PER_GROUP = 32 << 20
# A shard is closed at either bound: large enough to read fast, small enough to transfer and to be read by one of many workers.
ROWS_PER_SHARD = 50_000
BYTES_PER_SHARD = 256 << 20
_REBUILD = "Build the dataset again (vicur data prepare), or fetch it again."

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# All columns are nullable, as datasets requires. read_shard() rejects nulls in mandatory fields.
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("images", pa.list_(_IMAGE)),
        pa.field("question", pa.string()),
        pa.field("choices", pa.list_(pa.string())),
        pa.field("answer", pa.string()),
        pa.field("rationale", pa.string()),
        pa.field("cue", pa.string()),
        pa.field("source", pa.string()),
        pa.field("split", pa.string()),
        # JSON text, because the keys differ between examples.
        pa.field("metadata", pa.string()),
    ]
)


def huggingface_metadata() -> str:
    """Return the features of :data:`SCHEMA` in the format of the ``datasets`` library."""
    text = {"dtype": "string", "_type": "Value"}
    special = {
        "images": {"feature": {"_type": "Image"}, "_type": "List"},
        "choices": {"feature": text, "_type": "List"},
    }
    return json.dumps({"info": {"features": {name: special.get(name, text) for name in SCHEMA.names}}})


class ShardWriter:
    """Writes one parquet file, row group by row group."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.image_bytes = 0
        # Rows of the next row group: objects that add() collects, and tables of earlier calls.
        self._rows: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = []
        self._group_rows = self._group_bytes = 0
        self._writer = pq.ParquetWriter(path, SCHEMA, write_batch_size=ROWS_PER_GROUP, **SETTINGS)
        self._writer.add_key_value_metadata({"huggingface": huggingface_metadata()})

    @property
    def is_full(self) -> bool:
        """Return whether the next row belongs to another file."""
        return self.rows >= ROWS_PER_SHARD or self.image_bytes >= BYTES_PER_SHARD

    def add(self, example: Example) -> None:
        """Write one example."""
        self._rows.append(_to_row(example))
        self._count(1, sum(map(len, example.images)))

    def extend(self, table: pa.Table) -> None:
        """Write the rows of a table with the columns :data:`SCHEMA`, with the same result as adding them one by one."""
        self._collect()
        # Sizes after each row, so that a search finds the row that fills a row group.
        sizes = np.cumsum(image_bytes(table))
        begin = taken = 0
        while begin < table.num_rows:
            by_bytes = int(np.searchsorted(sizes, taken + BYTES_PER_GROUP - self._group_bytes)) + 1
            end = min(table.num_rows, by_bytes, begin + ROWS_PER_GROUP - self._group_rows)
            self._tables.append(table.slice(begin, end - begin))
            total = int(sizes[end - 1])
            self._count(end - begin, total - taken)
            begin, taken = end, total

    def close(self) -> None:
        """Write the last row group and the file's footer."""
        if self._group_rows:
            self._write_group()
        self._writer.close()

    def _count(self, rows: int, size: int) -> None:
        self.rows += rows
        self.image_bytes += size
        self._group_rows += rows
        self._group_bytes += size
        if self._group_rows >= ROWS_PER_GROUP or self._group_bytes >= BYTES_PER_GROUP:
            self._write_group()

    def _collect(self) -> None:
        if self._rows:
            self._tables.append(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows = []

    def _write_group(self) -> None:
        self._collect()
        # One chunk: a page would otherwise end where a chunk does.
        group = pa.concat_tables(self._tables).combine_chunks()
        self._writer.write_table(group, row_group_size=ROWS_PER_GROUP)
        self._tables = []
        self._group_rows = self._group_bytes = 0


def image_bytes(table: pa.Table) -> NDArray[np.int64]:
    """Return the size of each row's images in bytes."""
    sizes = np.zeros(table.num_rows, dtype=np.int64)
    images = table["images"].combine_chunks()
    of_row = pc.list_parent_indices(images).to_numpy(zero_copy_only=False)
    lengths = pc.binary_length(pc.list_flatten(images).field("bytes")).fill_null(0).to_numpy(zero_copy_only=False)
    np.add.at(sizes, of_row, lengths)
    return sizes


def read_shard(path: Path) -> Iterator[Example]:
    """Read the examples of one file in order. Errors name the row if possible; the first is row 1."""
    with open_shard(path) as file:
        row = 1
        for group in range(file.num_row_groups):
            for record in read_group(file, path, group, row).to_pylist():
                yield stored_example(record, f"{path}:row {row}")
                row += 1


def open_shard(path: Path, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Open a shard, whose checksums are verified while it is read. ``metadata`` is its footer, if it was read before.

    Raises:
        VicurError: if it is not a parquet file with the columns of a shard.
    """
    try:
        file = pq.ParquetFile(path, metadata=metadata, memory_map=True, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise VicurError(
            f"is not a readable parquet file ({_brief(error)}).", where=str(path), remedy=_REBUILD
        ) from error
    if not file.schema_arrow.equals(SCHEMA):
        file.close()
        raise VicurError(
            f"does not have the columns of a dataset's shard, but {listed(file.schema_arrow.names)}.",
            where=str(path),
            remedy="Name a folder written by vicur data prepare.",
        )
    return file


def read_group(
    file: pq.ParquetFile, path: Path, group: int, first_row: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read one row group, or some of its columns. ``first_row`` is the number of its first row in the file, from 1.

    Raises:
        VicurError: if the group is damaged.
    """
    count = file.metadata.row_group(group).num_rows
    # Arrow reports a failed checksum for a whole row group, so the message names its rows.
    where = f"{path}:rows {first_row} to {first_row + count - 1}"
    try:
        table = file.read_row_group(group, columns=None if columns is None else list(columns))
        # Text that is not UTF-8 would otherwise be noticed only when it is converted, without its place.
        table.validate(full=True)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise VicurError(f"cannot be decoded ({_brief(error)}).", where=where, remedy=_REBUILD) from error
    return table


def _to_row(example: Example) -> dict[str, Any]:
    row = example.model_dump(exclude={"images", "metadata"})
    row["images"] = [{"bytes": image, "path": None} for image in example.images]
    row["metadata"] = encode_metadata(example.metadata)
    return row


def stored_example(row: dict[str, Any], where: str) -> Example:
    """Return the example of one row of a shard.

    Raises:
        VicurError: if it is not a valid example. The message begins with ``where``.
    """
    try:
        images = tuple(image["bytes"] for image in row["images"])
        metadata = json.loads(row["metadata"])
        return Example(**{**row, "images": images, "choices": tuple(row["choices"]), "metadata": metadata})
    except ValidationError as error:
        fault = Fault.of(error)
        raise VicurError(f"{fault.reason}.", where=f"{where}:{fault.field}", remedy=_REBUILD) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise VicurError(f"is not an example ({_brief(error)}).", where=where, remedy=_REBUILD) from error


def _brief(error: Exception) -> str:
    # Arrow appends a stack of C++ files to some messages.
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
