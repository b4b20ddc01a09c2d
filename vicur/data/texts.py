"""Read the texts of a dataset without its images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vicur.data.dataset import read_manifest
from vicur.errors import VicurError

_ROWS = 4096  # in memory at a time


class Texts(NamedTuple):
    """Texts of one example."""

    id: str
    question: str
    choices: tuple[str, ...]
    answer: str


def read_texts(folder: Path, split: str) -> Iterator[Texts]:
    """Yield the texts of a split in order.

    Raises:
        VicurError: if a shard cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for shard in read_manifest(folder).shards:
        if shard.split != split:
            continue
        path = folder / shard.file
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(_ROWS, columns=list(Texts._fields)):
                    for row in batch.to_pylist():
                        yield Texts(row["id"], row["question"], tuple(row["choices"] or ()), row["answer"])
        except (OSError, pa.ArrowException) as error:
            raise VicurError(
                f"cannot be read ({str(error).splitlines()[0].rstrip('.')}).",
                where=str(path),
                remedy="Build the dataset again (vicur data prepare), or fetch it again.",
            ) from error
