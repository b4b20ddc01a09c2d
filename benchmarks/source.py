"""Sources of any number of small examples, written as a stream, for benchmarks of the data stages."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

_ROWS_PER_GROUP = 1000
_SPLITS = ("distill",) * 18 + ("validation", "test")


def rows(count: int, size: int = 32, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield rows with an image of ``size`` x ``size`` pixels each, no two of them alike, and a question about it."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = np.empty((size, size, 3), dtype=np.uint8)
        pixels[:] = rng.integers(0, 256, 3)
        pixels[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = rng.integers(0, 256, (size // 2, size // 2, 1))
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        yield {
            "id": f"row-{number:08d}",
            "images": [{"bytes": buffer.getvalue(), "path": None}],
            "question": f"How bright is square {number}?",
            "answer": str(number % 97),
            "split": _SPLITS[number % len(_SPLITS)],
        }


def write_source(folder: Path, count: int) -> Path:
    """Write a source with ``examples.parquet`` to a new folder, a thousand rows in memory at a time."""
    folder.mkdir(parents=True)
    writer: pq.ParquetWriter | None = None
    pending: list[dict[str, Any]] = []
    for number, row in enumerate(rows(count), start=1):
        pending.append(row)
        if len(pending) == _ROWS_PER_GROUP or number == count:
            table = pa.Table.from_pylist(pending)
            writer = writer or pq.ParquetWriter(folder / "examples.parquet", table.schema)
            writer.write_table(table)
            pending = []
    if writer is not None:
        writer.close()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    arguments = parser.parse_args()
    write_source(arguments.folder, arguments.rows)


if __name__ == "__main__":
    main()
