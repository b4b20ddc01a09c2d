"""Decides what answers that are numbers mean, by all rows of a source: the text of a choice, or its place counted from 0 or from 1.

No single row can say it: ``{"choices": ["cat", "dog", "cow"], "answer": 1}`` is a dog or a cat. So the rows decide together:

- Numbers are places if in most rows with choices the answer is a number that is none of them. Otherwise they are texts.
- Places count from 0 if the answer 0 is more than ten times as frequent as answers that are the number of their choices, and from 1 if
  these are more than ten times as frequent as 0.
- Otherwise, ``data.answer_index`` must say it. A guess would be wrong for every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vicur.answers.choices import canonical_choice
from vicur.config.formats import AnswerIndex
from vicur.data.formats.base import Record
from vicur.data.row_columns import Layout, matched
from vicur.data.row_values import choices_of, place_of
from vicur.data.schema import UnusableRowError
from vicur.errors import VicurError

_CLEARLY = 10  # times more often


@dataclass
class AnswerNumbers:
    """What the answers to questions with choices look like."""

    rows: int = 0
    """Rows with choices and an answer."""
    numbers: int = 0
    """Of these, rows whose answer is a number that is none of the choices."""
    zeros: int = 0
    lasts: int = 0
    """Answers that are the number of their choices."""
    smallest: int = 0
    largest: int = 0

    def add(self, record: Record, layout: Layout) -> None:
        """Count a row. Unusable rows do not count."""
        found = _answer(record, layout)
        if found is None:
            return
        number, choices = found
        self.rows += 1
        # The number of a place may also be the text of a choice: only other rows show that places are meant.
        if number is None or canonical_choice(str(number), choices) is not None or not 0 <= number <= len(choices):
            return
        self.smallest = number if not self.numbers else min(self.smallest, number)
        self.largest = max(self.largest, number)
        self.numbers += 1
        self.zeros += number == 0
        self.lasts += number == len(choices)

    @property
    def are_places(self) -> bool:
        """Whether numbers are places of choices, rather than texts."""
        return self.numbers > self.rows / 2

    @property
    def index(self) -> AnswerIndex:
        """What the numbers mean; ``auto`` if the rows do not say whether they count from 0 or from 1."""
        if not self.are_places:
            return "none"
        # A stray number is one unusable row, but not what decides about all others.
        if self.zeros > _CLEARLY * self.lasts:
            return 0
        return 1 if self.lasts > _CLEARLY * self.zeros else "auto"


def numbers_in(records: Iterable[Record], layout: Layout) -> AnswerNumbers:
    """Count the answers of some rows."""
    numbers = AnswerNumbers()
    for record in records:
        numbers.add(record, layout)
    return numbers


def decided_index(sample: Iterable[Record], every: Iterable[Record], layout: Layout, where: str) -> AnswerIndex:
    """Return what numbers mean as answers.

    Args:
        sample: rows from all parts of the source. Only if their answers are numbers of choices are the others read.
        every: all rows.

    Raises:
        VicurError: if they are places of choices, but no row says whether these count from 0 or from 1.
    """
    if not numbers_in(sample, layout).are_places:
        return "none"
    numbers = numbers_in(every, layout)
    if numbers.index != "auto":
        return numbers.index
    seen = "both occur" if numbers.zeros else "neither occurs"
    raise VicurError(
        f"{numbers.numbers:,} answers are the number of a choice ({numbers.smallest} to {numbers.largest}), but it is not clear whether "
        f"choices count from 0 or from 1: of the answer 0 and an answer that is the number of its choices, {seen}.",
        where=where,
        remedy="Look at a row, and set data.answer_index to 0 or 1 (or to none if the numbers are no places).",
    )


def _answer(record: Record, layout: Layout) -> tuple[int | None, tuple[str, ...]] | None:
    """Return the answer of a row, if it is a number, and its choices; ``None`` if it has no choices or cannot be read."""
    if not isinstance(record.columns, Mapping):
        return None
    present: dict[str, Any] = {name: value for name, value in record.columns.items() if value is not None}
    found = matched(present, layout)
    if "answer" not in found or "choices" not in found:
        return None
    try:
        choices = choices_of(found["choices"].value)
        number = place_of(found["answer"].value)
    except UnusableRowError:
        return None
    return (number, choices) if choices else None
