"""Reads the tables of benchmarks as the harness does: tab-separated, images in base64, missing values by pandas' names for them."""

from __future__ import annotations

import base64
import binascii
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vicur.data.images import MAX_BYTES
from vicur.data.schema import UnusableRowError
from vicur.errors import VicurError

IMAGE = "image"
_MISSING_NUMBERS = ("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "NaN", "nan")
MISSING = frozenset(("", "<NA>", "N/A", "NA", "NULL", "None", "n/a", "null", *_MISSING_NUMBERS))
"""Cells that pandas reads as missing. An option "None" is therefore not shown by the harness."""
_LONGEST_REFERENCE = 64  # characters; a longer cell is an image
_LARGEST_CELL = 4 * MAX_BYTES
_MOST_COLUMNS = 200
_REMEDY = "Fetch the benchmark's file again, and compare its MD5."


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    number: int  # the first row after the header is 1
    columns: dict[str, str]  # without images and missing values
    image: str | None  # the cell with the images, or the index of a row that has them


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a table, one at a time.

    Raises:
        VicurError: if the file is not such a table.
    """
    try:
        with _large_cells(), path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, delimiter="\t")
            header = next(reader, [])
            if "index" not in header or len(header) > _MOST_COLUMNS or len(set(header)) < len(header):
                raise VicurError(
                    "has no header with the column 'index', and different names for all columns.",
                    where=str(path),
                    remedy=_REMEDY,
                )
            for number, cells in enumerate(reader, start=1):
                if len(cells) != len(header):
                    raise VicurError(
                        f"has {len(cells)} cells, but the header names {len(header)} columns.",
                        where=f"{path}:row {number}",
                        remedy=_REMEDY,
                    )
                values = {name: cell for name, cell in zip(header, cells, strict=True) if cell not in MISSING}
                image = values.pop(IMAGE, None)
                yield Row(number, values, image)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VicurError(f"cannot be read ({error}).", where=str(path), remedy=_REMEDY) from error


@contextmanager
def _large_cells() -> Iterator[None]:
    # Images are cells; the limit is a setting of the whole module.
    before = csv.field_size_limit(_LARGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def is_reference(image: str) -> bool:
    """Return whether a cell names the row that has the images, in place of images."""
    return len(image) <= _LONGEST_REFERENCE


def decoded_images(image: str) -> list[bytes]:
    """Return the encoded files in a cell: one in base64, or a list of several, ``['...', '...']``.

    Raises:
        UnusableRowError: if it is neither.
    """
    cell = image.strip()
    texts = [cell]
    if cell.startswith("[") and cell.endswith("]"):
        # Base64 contains neither quotes nor commas, so that the list need not be parsed as Python.
        texts = [text.strip().strip("'\"") for text in cell[1:-1].split(",")]
    try:
        return [base64.b64decode(text, validate=True) for text in texts]
    except (binascii.Error, ValueError) as error:
        raise UnusableRowError(IMAGE, "is not an image in base64", _REMEDY) from error
