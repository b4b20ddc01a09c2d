"""Rows of parquet files, in units of row groups, or of parts of very large ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vicur.data.formats.base import UNIT_BYTES, UNIT_ROWS, Record, Unit
from vicur.data.formats.source_folder import SourceFolder
from vicur.errors import VicurError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_BATCH = 64  # rows in memory at a time, with their images
_MOST_PARTS = 16  # of a row group, because each reads the rows before it as well


def parquet_units(folder: SourceFolder, name: str, split: str | None = None) -> list[Unit]:
    """Divide a parquet file into units. The offset of a unit is its row group."""
    units: list[Unit] = []
    with opened_parquet(folder, name) as parquet:
        first = 1
        for group in range(parquet.num_row_groups):
            described = parquet.metadata.row_group(group)
            end, rows = first + described.num_rows, described.num_rows
            parts = max(rows / UNIT_ROWS, described.total_byte_size / UNIT_BYTES, 1)
            step = max(-(-rows // min(int(-(-parts // 1)), _MOST_PARTS)), 1)
            for start in range(first, end, step):
                stop = min(start + step, end)
                units.append(Unit(file=name, first=start, end=stop, offset=group, split=split))
            first = end
        # An empty file is one empty unit, so that messages can name it.
        return units or [Unit(file=name, end=1, split=split)]


def parquet_records(folder: SourceFolder, unit: Unit) -> Iterator[Record]:
    """Yield the rows of a unit of :func:`parquet_units`."""
    import pyarrow as pa

    with opened_parquet(folder, unit.file) as parquet:
        if not unit.rows:
            return
        number = 1 + sum(parquet.metadata.row_group(group).num_rows for group in range(unit.offset))
        try:
            for batch in parquet.iter_batches(batch_size=_BATCH, row_groups=[unit.offset]):
                begin, end = max(unit.first - number, 0), min(unit.end - number, batch.num_rows)
                if begin < end:
                    for place, row in enumerate(batch.slice(begin, end - begin).to_pylist(), start=number + begin):
                        yield Record(unit.file, place, row, unit.split)
                number += batch.num_rows
                if number >= unit.end:
                    return
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise _unreadable(error, f"{folder.path / unit.file}: after row {number - 1}") from error


def opened_parquet(folder: SourceFolder, name: str) -> ParquetFile:
    """Open a parquet file, or raise an error if it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Arrow would wait for a named pipe.
    folder.open(name).close()
    try:
        return pq.ParquetFile(folder.locate(name))
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(error, str(folder.path / name)) from error


def _unreadable(error: Exception, where: str) -> VicurError:
    reason = str(error).splitlines()[0].rstrip(".")
    return VicurError(f"cannot be read as parquet ({reason}).", where=where, remedy="Write the file again.")
