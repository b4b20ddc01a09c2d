"""Results of benchmarks: a table on the terminal, and rows of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def report(title: str, rows: Sequence[Mapping[str, Any]], path: Path | None) -> None:
    """Print rows with the same fields as a table, and write them to ``path`` if it is given."""
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{value:,.4g}" if isinstance(value, float) else f"{value}" for value in row.values()))
    Console(width=160).print(table)
    if path is not None:
        path.write_text(json.dumps(list(rows), indent=1), encoding="utf-8")
