"""Decides what answers that are numbers mean, by all rows of a source: the text of a choice, or its place counted from 0 or from 1.

No single row can say it: ``{"choices": ["cat", "dog", "cow"], "answer": 1}`` is a dog or a cat. So the rows decide together:

- Numbers are places if in most rows with choices the answer is a number that is none of them. Otherwise they are texts.
- Places count from 0 if some answer is 0. They count from 1 if none is 0 and some answer is the number of choices.
- If there is neither, ``data.answer_index`` must say it. A guess would be wrong for every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vicur.answers.choices import canonical_choice
from vicur.config.formats import AnswerIndex
from vicur.data.formats.base import Record
from vicur.data.row_values import choices_of, place_of
from vicur.data.rows import Layout, matched
from vicur.data.schema import UnusableRowError
from vicur.errors import VicurError


@dataclass
class AnswerNumbers:
    """What the answers to questions with choices look like."""

    rows: int = 0
    """Rows with choices and an answer."""
    numbers: int = 0
    """Of these, rows whose answer is a number that is none of the choices."""
    has_zero: bool = False
    has_last: bool = False
    """Whether some answer is the number of choices."""
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
        self.has_zero = self.has_zero or number == 0
        self.has_last = self.has_last or number == len(choices)

    @property
    def are_places(self) -> bool:
        """Whether numbers are places of choices, rather than texts."""
        return self.numbers > self.rows / 2

    @property
    def index(self) -> AnswerIndex:
        """What the numbers mean; ``auto`` if the rows do not say whether they count from 0 or from 1."""
        if not self.are_places:
            return "none"
        return 0 if self.has_zero else 1 if self.has_last else "auto"


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
    numbers = numbers_in(sample, layout)
    if not numbers.are_places:
        return "none"
    if numbers.has_zero:
        return 0
    numbers = AnswerNumbers()
    for record in every:
        numbers.add(record, layout)
        if numbers.has_zero:
            return 0
    if numbers.has_last:
        return 1
    raise VicurError(
        f"{numbers.numbers:,} answers are the number of a choice ({numbers.smallest} to {numbers.largest}), but it is not clear whether "
        "choices count from 0 or from 1: no answer is 0, and none is the number of its choices.",
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
