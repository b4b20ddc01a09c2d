"""How benchmarks tell what they measured: a table for people, rows of JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def report(title: str, rows: Sequence[Mapping[str, Any]], path: Path | None) -> None:
    """Prints rows of the same fields as a table and, where a path is given, writes them to it."""
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{value:,.4g}" if isinstance(value, float) else f"{value}" for value in row.values()))
    Console(width=160).print(table)
    if path is not None:
        path.write_text(json.dumps(list(rows), indent=1), encoding="utf-8")
