"""Parquet files, and Arrow files as Hugging Face's ``datasets`` writes them with ``save_to_disk``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vicur.config.data import ImportConfig
from vicur.data.formats.base import UNIT_ROWS, Recognised, Record, Unit
from vicur.data.formats.registry import register
from vicur.data.formats.row_files import RowFiles
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.formats.tables import (
    BATCH,
    batch_records,
    class_labels,
    opened_parquet,
    parquet_records,
    parquet_units,
    unreadable,
)
from vicur.errors import VicurError

if TYPE_CHECKING:
    import pyarrow as pa

_STATE = "state.json"
_LARGEST_STATE = 16 << 20


@register
class ParquetFormat(RowFiles):
    """Parquet files and shards."""

    name = "parquet"
    description = "parquet files and shards (data/train-00000-of-00010.parquet)"
    endings = (".parquet", ".pq")

    def peek(self, folder: SourceFolder, name: str) -> Mapping[str, Any] | None:
        with opened_parquet(folder, name) as parquet:
            return dict.fromkeys(parquet.schema_arrow.names, "") if parquet.metadata.num_rows else {}

    def file_units(self, folder: SourceFolder, name: str, split: str | None) -> list[Unit]:
        return parquet_units(folder, name, split)

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        return parquet_records(folder, unit)


@register
class ArrowFormat(RowFiles):
    """Arrow files: a ``Dataset`` or ``DatasetDict`` that was saved with ``save_to_disk``, or single files."""

    name = "arrow"
    description = "a folder written by save_to_disk of Hugging Face's datasets, or Arrow files"
    endings = (".arrow",)

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        found = super().recognise(folder, config)
        if found is None:
            return None
        # Beside its data, a saved dataset may have files that were cached by map() and filter().
        saved = _saved_files(folder)
        unlisted = {name for name in found.files if _folder_of(name) in saved and name not in saved[_folder_of(name)]}
        left_out = dict.fromkeys(sorted(unlisted), "is not part of the saved dataset (state.json).")
        # The order of the shards is that of their names, as in every other format.
        return Recognised([name for name in found.files if name not in unlisted], {**found.left_out, **left_out})

    def peek(self, folder: SourceFolder, name: str) -> Mapping[str, Any] | None:
        with _batches(folder, name) as (schema, _):
            return dict.fromkeys(schema.names, "")

    def file_units(self, folder: SourceFolder, name: str, split: str | None) -> list[Unit]:
        units: list[Unit] = []
        first, begin, number = 1, 0, 1
        with _batches(folder, name) as (_, batches):
            for place, batch in enumerate(batches):
                if number - first >= UNIT_ROWS:
                    units.append(Unit(file=name, first=first, end=number, offset=begin, split=split))
                    first, begin = number, place
                number += batch.num_rows
        return [*units, Unit(file=name, first=first, end=number, offset=begin, split=split)]

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        import pyarrow as pa

        with _batches(folder, unit.file) as (schema, batches):
            labels = class_labels(schema)
            number = 1
            for batch in batches:
                if number + batch.num_rows > unit.first and number < unit.end:
                    try:
                        # The file is untrusted: its offsets may point anywhere.
                        batch.validate(full=True)
                        for start in range(0, batch.num_rows, BATCH):
                            part = batch.slice(start, BATCH)
                            yield from batch_records(part, number + start, unit, labels)
                    except (UnicodeDecodeError, pa.ArrowException) as error:
                        where = f"{folder.path / unit.file}: rows {number} to {number + batch.num_rows - 1}"
                        raise unreadable(error, "Arrow", where) from error
                number += batch.num_rows
                if number >= unit.end:
                    return


@contextmanager
def _batches(folder: SourceFolder, name: str) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Open an Arrow file, of either of its two forms, and return its schema and its batches, which are mapped and not copied."""
    import pyarrow as pa

    where = str(folder.path / name)
    folder.open(name).close()
    try:
        with pa.memory_map(str(folder.locate(name))) as source:
            try:
                stream = pa.ipc.open_stream(source)
            except pa.ArrowInvalid:
                source.seek(0)
                file = pa.ipc.open_file(source)
                yield file.schema, (file.get_batch(place) for place in range(file.num_record_batches))
            else:
                yield stream.schema, iter(stream)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(error, "Arrow", where) from error


def _saved_files(folder: SourceFolder) -> dict[str, set[str]]:
    """Return the data files of each folder that was saved, as its ``state.json`` lists them."""
    found = {}
    for name in folder.ending(f"/{_STATE}", _STATE):
        if name.rpartition("/")[2] != _STATE:
            continue
        with folder.open(name) as stream:
            text = stream.read(_LARGEST_STATE)
        try:
            listed = {str(each["filename"]) for each in json.loads(text)["_data_files"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # the state.json of something else
        base = _folder_of(name)
        missing = sorted(each for each in listed if f"{base}{each}" not in folder.files)
        if missing:
            raise VicurError(
                f"lists {missing[0]!r}, which is missing.",
                where=str(folder.path / name),
                remedy="Copy the whole folder that save_to_disk wrote.",
            )
        found[base] = {f"{base}{each}" for each in listed}
    return found


def _folder_of(name: str) -> str:
    return name[: name.rfind("/") + 1]
