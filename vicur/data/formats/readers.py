"""Readers of files of rows, by their ending, for layouts that are built on such files."""

from __future__ import annotations

from vicur.data.formats.csv_files import CsvFormat, TsvFormat
from vicur.data.formats.json_files import JsonFormat
from vicur.data.formats.row_files import RowFiles
from vicur.data.formats.table_files import ArrowFormat, ParquetFormat
from vicur.errors import VicurError

_READERS: tuple[RowFiles, ...] = (JsonFormat(), ParquetFormat(), ArrowFormat(), CsvFormat(), TsvFormat())
ENDINGS = tuple(ending for reader in _READERS for ending in reader.endings)
"""Endings of files of rows."""


def reader_of(name: str) -> RowFiles:
    """Return the format that reads the rows of a file.

    Raises:
        VicurError: if the ending is none of :data:`ENDINGS`.
    """
    for reader in _READERS:
        if name.lower().endswith(reader.endings):
            return reader
    raise VicurError(
        "is not a file of rows.", where=name, remedy=f"Set data.files to files that end in {', '.join(ENDINGS)}."
    )
