"""The facts of all examples of some parts, read by columns."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vicur.data.hygiene import ImageColumns, image_columns
from vicur.data.importing.facts import facts_table
from vicur.data.importing.parts import FACTS_FILE

_REPEATED = ("file", "split", "kind")
_ROWS = 2000  # whose images are in memory at a time


class StoredFacts:
    """The facts of all examples of some parts, in their order.

    Args:
        folder: for temporary files.
    """

    def __init__(self, parts: Sequence[Path], folder: Path) -> None:
        self._files = [part / FACTS_FILE for part in parts]
        self._folder = folder

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Return some columns. Those of repeated texts are dictionaries."""
        repeated = [name for name in _REPEATED if name in columns]
        tables = [
            pq.read_table(file, columns=list(columns), read_dictionary=repeated, use_threads=False)
            for file in self._files
        ]
        return pa.concat_tables(tables).unify_dictionaries() if tables else facts_table([]).select(list(columns))

    @contextmanager
    def images(self) -> Iterator[ImageColumns]:
        """Yield the images. Inside the block, their thumbnails (216 bytes each) are in a temporary file."""
        with tempfile.TemporaryFile(dir=self._folder) as thumbnails:
            yield image_columns(self._lists(), thumbnails)

    def _lists(self) -> Iterator[pa.ListArray]:
        for file in self._files:
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(_ROWS, columns=["images"], use_threads=False):
                    yield batch.column("images")
