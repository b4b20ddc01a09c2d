"""Parquet shards of examples, whose bytes depend only on the examples and on pyarrow's release.

:mod:`vicur.data.parquet` fixes what an encoder may choose, and row groups have a fixed size. What remains is pyarrow's release, which it
writes into each file (``created_by: parquet-cpp-arrow version ...``) and constraints.txt pins.

The ``huggingface`` metadata entry makes the ``datasets`` library decode the images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from vicur.data.parquet import SETTINGS
from vicur.data.schema import Example, Fault, encode_metadata
from vicur.errors import VicurError
from vicur.wording import listed

ROWS_PER_GROUP = 250
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
        self._pending: list[dict[str, Any]] = []
        self._writer = pq.ParquetWriter(path, SCHEMA, write_batch_size=ROWS_PER_GROUP, **SETTINGS)
        self._writer.add_key_value_metadata({"huggingface": huggingface_metadata()})

    def add(self, example: Example) -> None:
        self._pending.append(_to_row(example))
        self.rows += 1
        self.image_bytes += sum(map(len, example.images))
        if len(self._pending) == ROWS_PER_GROUP:
            self._write_group()

    def close(self) -> None:
        """Write the last row group and the file's footer."""
        if self._pending:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._pending, schema=SCHEMA), row_group_size=ROWS_PER_GROUP)
        self._pending = []


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
