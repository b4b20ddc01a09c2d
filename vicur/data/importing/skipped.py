"""The rows that an import skips: streamed to ``skipped.jsonl``, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from vicur.data.importing.parts import counts_of, read_skipped
from vicur.data.schema import SkippedRow
from vicur.storage.folders import new_file

_SHOWN = 5  # rows in an error message
_BATCH = 10_000


@dataclass
class Skipped:
    """The rows that were skipped, by number.

    Attributes:
        by_field: number of rows by the field at fault, without an index (``choices``), or ``row``.
        first: the first few of them.
    """

    count: int = 0
    by_field: Counter[str] = field(default_factory=Counter)
    first: list[SkippedRow] = field(default_factory=list)

    def add(self, row: SkippedRow) -> None:
        """Count a row."""
        self.count += 1
        # choices[0] and choices[1] are one reason. A row that is not JSON has no field.
        self.by_field[row.field.partition("[")[0] or "row"] += 1
        if len(self.first) < _SHOWN:
            self.first.append(row)


def write_skipped(rows: Iterable[SkippedRow], path: Path) -> Skipped:
    """Write rows to a file of JSON lines, and count them."""
    skipped = Skipped()
    with new_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            skipped.add(row)
            file.write(f"{row.model_dump_json()}\n")
    return skipped


def all_skipped(parts: Sequence[Path], facts: pa.Table, dropped: pa.Table) -> Iterator[SkippedRow]:
    """Yield the unusable rows of all parts and the examples that were dropped, in the order of the source."""
    later = _dropped_rows(facts, dropped)
    following = next(later, None)
    start = 0
    for part in parts:
        for row in read_skipped(part):
            while following is not None and following[0] < start + row.after:
                yield following[1]
                following = next(later, None)
            yield SkippedRow(**row.model_dump(exclude={"after"}))
        start += counts_of(part).examples
        while following is not None and following[0] < start:
            yield following[1]
            following = next(later, None)


def _dropped_rows(facts: pa.Table, dropped: pa.Table) -> Iterator[tuple[int, SkippedRow]]:
    for begin in range(0, dropped.num_rows, _BATCH):
        batch = dropped.slice(begin, _BATCH)
        places = facts.select(["file", "row"]).take(batch["position"]).to_pylist()
        for row, place in zip(batch.to_pylist(), places, strict=True):
            yield row.pop("position"), SkippedRow(**row, **place)
