"""Writing of files as the ``datasets`` library and the authors of public datasets write them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.layouts.items import encoded

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The ``Image`` feature of ``datasets`` in parquet."""


def embedded(number: int, name: str | None = None) -> dict[str, Any]:
    """Return a picture as a value of the ``Image`` feature."""
    return {"bytes": encoded(number), "path": name}


def write_parquet(path: Path, rows: list[dict[str, Any]], **types: Any) -> None:
    """Write rows to a parquet file. ``types`` are those of columns whose type the values do not show."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inferred = pa.Table.from_pylist([{key: value for key, value in row.items() if key not in types} for row in rows])
    schema = pa.schema([(name, types.get(name) or inferred.schema.field(name).type) for name in rows[0]])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def write_json(path: Path, value: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, **options), encoding="utf-8")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
