"""Examples as parquet files whose bytes depend on the examples and on pyarrow's release alone.

:mod:`vicur.data.parquet` switches off what an encoder may choose, and row groups have a fixed size. What remains is the
release that pyarrow signs each file with (``created_by: parquet-cpp-arrow version ...``); constraints.txt pins it.

The ``huggingface`` entry of the metadata is what the ``datasets`` library keeps its features in: it reads the images as
images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from vicur.data.parquet import SETTINGS
from vicur.data.schema import Example, Fault, encode_metadata
from vicur.errors import VicurError

ROWS_PER_GROUP = 250
_REBUILD = "Build the dataset again (vicur data prepare), or fetch it again."

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
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
        pa.field("metadata", pa.string()),
    ]
)
"""Columns of a shard. ``metadata`` is JSON text: its keys differ from one example to the next. All may be null as far as
parquet knows, since ``datasets`` takes only such columns for its own; reading an example checks what may not."""


def huggingface_metadata() -> str:
    """The features of :data:`SCHEMA` as ``datasets`` writes them down."""
    text = {"dtype": "string", "_type": "Value"}
    special = {
        "images": {"feature": {"_type": "Image"}, "_type": "List"},
        "choices": {"feature": text, "_type": "List"},
    }
    return json.dumps({"info": {"features": {name: special.get(name, text) for name in SCHEMA.names}}})


class ShardWriter:
    """Writes one parquet file, row group by row group.

    Args:
        path: the file to create.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.image_bytes = 0
        self._waiting: list[dict[str, Any]] = []
        self._writer = pq.ParquetWriter(path, SCHEMA, write_batch_size=ROWS_PER_GROUP, **SETTINGS)
        self._writer.add_key_value_metadata({"huggingface": huggingface_metadata()})

    def add(self, example: Example) -> None:
        """Appends an example."""
        self._waiting.append(_to_row(example))
        self.rows += 1
        self.image_bytes += sum(map(len, example.images))
        if len(self._waiting) == ROWS_PER_GROUP:
            self._write_group()

    def close(self) -> None:
        """Writes what is left, and the file's footer."""
        if self._waiting:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=SCHEMA), row_group_size=ROWS_PER_GROUP)
        self._waiting = []


def read_shard(path: Path) -> Iterator[Example]:
    """Reads the examples of one file in order.

    Raises:
        VicurError: naming the file and the row (the first is row 1) where anything is not as it was written.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise VicurError(f"is no readable parquet file ({_brief(error)}).", where=str(path), remedy=_REBUILD) from error
    with file:
        if not file.schema_arrow.equals(SCHEMA):
            raise VicurError(
                f"has other columns than a dataset's shard: {', '.join(file.schema_arrow.names)}.",
                where=str(path),
                remedy="Name the folder that vicur data prepare wrote.",
            )
        row = 1
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            try:
                records = file.read_row_group(group).to_pylist()
            except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
                where = f"{path}:rows {row} to {row + count - 1}"
                raise VicurError(f"cannot be decoded ({_brief(error)}).", where=where, remedy=_REBUILD) from error
            for record in records:
                yield _from_row(record, f"{path}:row {row}")
                row += 1


def _to_row(example: Example) -> dict[str, Any]:
    row = example.model_dump(exclude={"images", "metadata"})
    row["images"] = [{"bytes": image, "path": None} for image in example.images]
    row["metadata"] = encode_metadata(example.metadata)
    return row


def _from_row(row: dict[str, Any], where: str) -> Example:
    try:
        images = tuple(image["bytes"] for image in row["images"])
        metadata = json.loads(row["metadata"])
        return Example(**{**row, "images": images, "choices": tuple(row["choices"]), "metadata": metadata})
    except ValidationError as error:
        fault = Fault.of(error)
        raise VicurError(f"{fault.reason}.", where=f"{where}:{fault.field}", remedy=_REBUILD) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise VicurError(f"is no example ({_brief(error)}).", where=where, remedy=_REBUILD) from error


def _brief(error: Exception) -> str:
    """The first line of what a library says about a failure."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
