"""The table of the examples that a rule over all facts drops."""

import pyarrow as pa

DROPPED = pa.schema(
    [
        pa.field("position", pa.int64()),
        pa.field("field", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("remedy", pa.string()),
    ]
)
"""Columns of the examples that a rule over all facts drops. ``field``, ``reason`` and ``remedy`` are those of a skipped row."""
