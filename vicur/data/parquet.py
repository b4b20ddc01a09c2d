"""Parquet files whose bytes depend only on their rows and on pyarrow's release.

Everything that an encoder may choose is switched off or fixed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

SETTINGS: dict[str, Any] = {
    "version": "2.6",
    "data_page_version": "1.0",
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": False,
    # Lets readers detect flipped bits.
    "write_page_checksum": True,
    "data_page_size": 1 << 20,
    # A serialised copy of Arrow's schema, which differs between releases.
    "store_schema": False,
}
"""Arguments for ``pyarrow.parquet.ParquetWriter``."""


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table in row groups of a fixed size."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, row_group_size=1 << 16, **SETTINGS)
