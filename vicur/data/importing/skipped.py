"""The rows that an import skips: streamed to ``skipped.jsonl``, and counted."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from vicur.data.importing.decide import Decision
from vicur.data.importing.parts import counts_of, read_skipped
from vicur.data.schema import SkippedRow
from vicur.storage.folders import new_file

_SHOWN = 5  # rows in an error message
_BATCH = 10_000


@dataclass
class Skipped:
    """The rows that were skipped, by number.

    Attributes:
        unusable: number of those with a fault. The others could be used, but would harm the dataset.
        by_field: number of rows by the field at fault, without an index (``choices``), or ``row``.
        first: the first few with a fault.
    """

    count: int = 0
    unusable: int = 0
    by_field: Counter[str] = field(default_factory=Counter)
    first: list[SkippedRow] = field(default_factory=list)

    def add(self, row: SkippedRow, *, unusable: bool = True) -> None:
        """Count a row."""
        self.count += 1
        self.unusable += unusable
        # choices[0] and choices[1] are one reason. A row that is not JSON has no field.
        self.by_field[row.field.partition("[")[0] or "row"] += 1
        if unusable and len(self.first) < _SHOWN:
            self.first.append(row)


def write_skipped(rows: Iterable[tuple[SkippedRow, bool]], path: Path) -> Skipped:
    """Write rows to a file of JSON lines, and count them. With each comes whether it has a fault."""
    skipped = Skipped()
    with new_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for row, unusable in rows:
            skipped.add(row, unusable=unusable)
            file.write(f"{row.model_dump_json()}\n")
    return skipped


def all_skipped(parts: Sequence[Path], places: pa.Table, decision: Decision) -> Iterator[tuple[SkippedRow, bool]]:
    """Yield the unusable rows of all parts and the examples that were dropped later, in the order of the source.

    With each comes whether it has a fault.

    Args:
        places: file, row and id of each example of the parts.
    """
    dropped = heapq.merge(
        _dropped_rows(places, decision.unusable, True), _dropped_rows(places, decision.left_out, False), key=_position
    )
    following = next(dropped, None)
    start = 0
    for part in parts:
        for row in read_skipped(part):
            while following is not None and following[0] < start + row.after:
                yield following[1:]
                following = next(dropped, None)
            yield SkippedRow(**row.model_dump(exclude={"after"})), True
        start += counts_of(part).examples
        while following is not None and following[0] < start:
            yield following[1:]
            following = next(dropped, None)


def _position(row: tuple[int, SkippedRow, bool]) -> int:
    return row[0]


def _dropped_rows(places: pa.Table, dropped: pa.Table, unusable: bool) -> Iterator[tuple[int, SkippedRow, bool]]:
    for begin in range(0, dropped.num_rows, _BATCH):
        batch = dropped.slice(begin, _BATCH)
        for row, place in zip(batch.to_pylist(), places.take(batch["position"]).to_pylist(), strict=True):
            yield row.pop("position"), SkippedRow(**row, **{**place, "id": place["id"][:200]}), unusable
