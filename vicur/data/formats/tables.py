"""Rows of parquet files, in units of row groups, or of parts of very large ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vicur.data.formats.base import UNIT_BYTES, UNIT_ROWS, Record, Unit
from vicur.data.formats.source_folder import SourceFolder
from vicur.errors import VicurError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

BATCH = 64
"""Rows in memory at a time, with their images."""
_MOST_PARTS = 16  # of a row group, because each reads the rows before it as well


def parquet_units(folder: SourceFolder, name: str, split: str | None = None) -> list[Unit]:
    """Divide a parquet file into units. The offset of a unit is its row group."""
    units: list[Unit] = []
    with opened_parquet(folder, name) as parquet:
        first = 1
        for group in range(parquet.num_row_groups):
            described = parquet.metadata.row_group(group)
            end, rows = first + described.num_rows, described.num_rows
            parts = max(-(-rows // UNIT_ROWS), -(-described.total_byte_size // UNIT_BYTES), 1)
            step = max(-(-rows // min(parts, _MOST_PARTS)), 1)
            for start in range(first, end, step):
                units.append(Unit(file=name, first=start, end=min(start + step, end), offset=group, split=split))
            first = end
    # An empty file is one empty unit, so that messages can name it.
    return units or [Unit(file=name, end=1, split=split)]


def parquet_records(folder: SourceFolder, unit: Unit) -> Iterator[Record]:
    """Yield the rows of a unit of :func:`parquet_units`."""
    import pyarrow as pa

    if not unit.rows:
        return
    with opened_parquet(folder, unit.file) as parquet:
        number = 1 + sum(parquet.metadata.row_group(group).num_rows for group in range(unit.offset))
        labels = class_labels(parquet.schema_arrow)
        try:
            for batch in parquet.iter_batches(batch_size=BATCH, row_groups=[unit.offset]):
                yield from batch_records(batch, number, unit, labels)
                number += batch.num_rows
                if number >= unit.end:
                    return
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise unreadable(error, "parquet", f"{folder.path / unit.file}: after row {number - 1}") from error


def batch_records(batch: pa.RecordBatch, number: int, unit: Unit, labels: Mapping[str, list[str]]) -> Iterator[Record]:
    """Yield those rows of a batch, whose first row has a number, that are in a unit. Numbers of classes become their names."""
    begin, end = max(unit.first - number, 0), min(unit.end - number, batch.num_rows)
    if begin >= end:
        return
    for place, row in enumerate(batch.slice(begin, end - begin).to_pylist(), start=number + begin):
        for column, names in labels.items():
            if isinstance(value := row.get(column), int) and 0 <= value < len(names):
                row[column] = names[value]
        yield Record(unit.file, place, row, unit.split)


def class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of the classes of each column of class numbers (``ClassLabel``), as Hugging Face's ``datasets`` writes them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: each["names"] for name, each in features.items() if each.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return {}
    return {
        name: names
        for name, names in found.items()
        if isinstance(names, list) and all(isinstance(n, str) for n in names)
    }


def opened_parquet(folder: SourceFolder, name: str) -> ParquetFile:
    """Open a parquet file, or raise an error if it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Arrow would wait for a named pipe.
    folder.open(name).close()
    try:
        return pq.ParquetFile(folder.locate(name))
    except (OSError, pa.ArrowException) as error:
        raise unreadable(error, "parquet", str(folder.path / name)) from error


def unreadable(error: Exception, kind: str, where: str) -> VicurError:
    """Return the error to raise for a file that Arrow cannot read."""
    reason = str(error).splitlines()[0].rstrip(".")
    return VicurError(f"cannot be read as {kind} ({reason}).", where=where, remedy="Write the file again.")
