"""The declaration of a benchmark: its file, how a row of it becomes a prompt, and how scored rows become its metric.

One subclass per benchmark, listed in :mod:`vicur.evaluation.benchmarks.registry`. Prompts are those of VLMEvalKit, which the paper used:
``make benchmarks-e2e`` compares them part by part with the harness itself. No method here needs the harness.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from vicur.answers.correct import matches
from vicur.answers.extract import extract_answer
from vicur.data.schema import UnusableRowError
from vicur.evaluation.benchmarks.aggregates import Outcome, mean

Columns = Mapping[str, str]
"""A row of a benchmark's file without its images, by column. Missing values are left out."""

Parts = tuple[str | int, ...]
"""The content of a prompt: texts, and images by their number in the row, in order."""


@dataclass(frozen=True)
class Gold:
    """What responses are checked against without a judge."""

    answer: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class PaperFigures:
    """The paper's accuracies in per cent (arXiv 2606.05718, table of main results), by method."""

    student_2b: Mapping[str, float] = field(default_factory=dict)
    student_8b: Mapping[str, float] = field(default_factory=dict)


class Scored(Protocol):
    """A scored row, as far as metrics need it."""

    @property
    def group(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def correct(self) -> bool: ...


class Benchmark(ABC):
    """One benchmark. Subclasses set the attributes and define :meth:`text`."""

    name: ClassVar[str]
    """Name in commands, metrics and files."""
    title: ClassVar[str]
    """Name in reports."""
    harness: ClassVar[str]
    """VLMEvalKit's name of the data set; empty if it has none."""
    file: ClassVar[str]
    """File with the questions, as the harness calls it."""
    md5: ClassVar[str]
    """MD5 of that file, as the harness checks it; empty if none is published."""
    rows: ClassVar[int]
    """Number of questions that the paper's figure counts; 0 if it is not known."""
    columns: ClassVar[tuple[str, ...]]
    """Columns that every row must have, apart from its images."""
    metric: ClassVar[str]
    """What the aggregate is, in words."""
    judge: ClassVar[str]
    """What the harness asks its judge for, in words; empty if it needs none."""
    licence: ClassVar[str]
    """Licence of the data, as published."""
    is_video: ClassVar[bool] = False
    paper: ClassVar[PaperFigures] = PaperFigures()

    def is_counted(self, columns: Columns) -> bool:  # noqa: ARG002
        """Return whether a row counts for the paper's figure. Others are not staged."""
        return True

    @abstractmethod
    def text(self, columns: Columns) -> str:
        """Return the text of the prompt, as the harness builds it."""

    def parts(self, columns: Columns, images: int) -> Parts:
        """Return the content of the prompt: by default all images, then the text."""
        return (*range(images), self.text(columns))

    def gold(self, columns: Columns) -> Gold:
        """Return the answer, with the choices of a multiple-choice question."""
        return Gold(columns["answer"], lettered(columns))

    def group(self, columns: Columns) -> str | None:  # noqa: ARG002
        """Return the unit for resampling, or ``None`` for that of the images."""
        return None

    def kind(self, columns: Columns) -> str:  # noqa: ARG002
        """Return the kind of question, by which results are broken down."""
        return "all"

    def stated(self, response: str, columns: Columns) -> str | None:  # noqa: ARG002
        """Return the final answer that a response states, without a judge, or ``None``."""
        return extract_answer(response)

    def is_right(self, stated: str, columns: Columns) -> bool:
        """Return whether a stated answer is right by rules, without a judge."""
        gold = self.gold(columns)
        return matches(gold.answer, stated, gold.choices)

    def aggregate(self, outcomes: Sequence[Outcome]) -> float:
        """Return the benchmark's metric, between 0 and 1, as the paper computes it: by default the mean over all rows."""
        return mean(outcomes)

    def credits(self, rows: Sequence[Scored]) -> list[tuple[str, float]]:
        """Return what the metric is the mean of, with the group of each: by default a row, which counts 1 if it is correct."""
        return [(row.group, float(row.correct)) for row in rows]


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def lettered(columns: Columns) -> tuple[str, ...]:
    """Return the choices in the columns A, B, C, ... of a row; none if a letter between them is missing."""
    letters = [letter for letter in _LETTERS if letter in columns]
    return tuple(columns[letter] for letter in letters) if letters == [*_LETTERS[: len(letters)]] else ()


def options_text(columns: Columns) -> str:
    """Return the lines ``Options:``, ``A. ...`` of VLMEvalKit's prompts; empty without options."""
    lines = [f"{letter}. {columns[letter]}\n" for letter in _LETTERS if letter in columns]
    return "".join(["Options:\n", *lines]) if lines else ""


def required(columns: Columns, name: str) -> str:
    """Return a column of a row.

    Raises:
        UnusableRowError: if it is missing.
    """
    if name not in columns:
        raise UnusableRowError(name, "is missing", "Use the benchmark's own file, without changes.")
    return columns[name]
