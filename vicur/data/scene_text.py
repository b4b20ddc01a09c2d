"""What is asked and said about a digit scene: every text of the embedded dataset, from templates.

A small word-level vocabulary is all that the tiny model has, so a changed template changes :func:`vocabulary` with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from string import Formatter
from typing import Any

from vicur.data.rendering import COLOURS

COLUMN_NAMES = ("left", "middle", "right")
ROW_NAMES = ("top", "bottom")
LARGEST_NUMBER = 27
"""Sum of three nines: more than any question needs of two digits, and what a row's sum would need."""

DESCRIBE_QUESTION = "Describe the image."
"""Asks for :func:`describe`; only the base model's training does."""

_COLUMN_CUE = "The {column} column holds {a} and {b}."
_COLOUR_CUE = "The {first} digit is {a} and the {second} digit is {b}."
_ROW_CUE = "The {row} row holds {a}, {b} and {c}."
_SUM_STEP = "{a} plus {b} is {answer}."
_REFERENCE = "{cue} {step} Answer: {answer}"
_ROW_DESCRIPTION = "{row} row: {first} {a}, {second} {b}, {third} {c}."


@dataclass(frozen=True)
class _Kind:
    """Templates of one kind of question."""

    question: str
    cue: str
    step: str
    step_for_one: str | None = None
    """The step where the answer is 1, if grammar wants another one."""


KINDS: dict[str, _Kind] = {
    "column_sum": _Kind("What is the sum of the {column} column?", _COLUMN_CUE, _SUM_STEP),
    "column_difference": _Kind(
        "What is the difference of the {column} column?", _COLUMN_CUE, "{high} minus {low} is {answer}."
    ),
    "colour_sum": _Kind("What is the sum of the {first} digit and the {second} digit?", _COLOUR_CUE, _SUM_STEP),
    "colour_larger": _Kind(
        "Which is larger, the {first} digit or the {second} digit?",
        _COLOUR_CUE,
        "The larger of {a} and {b} is {answer}.",
    ),
    "row_largest": _Kind("What is the largest digit in the {row} row?", _ROW_CUE, "The largest of them is {answer}."),
    "row_even": _Kind(
        "How many even digits are in the {row} row?",
        _ROW_CUE,
        "{answer} of them are even.",
        step_for_one="{answer} of them is even.",
    ),
}


@dataclass(frozen=True)
class Scene:
    """What a scene shows, row by row.

    Attributes:
        digits: 2 rows of 3 digits.
        colours: their colours.
        digit_ids: the images of load_digits that they were drawn from.
    """

    digits: tuple[tuple[int, ...], ...]
    colours: tuple[tuple[str, ...], ...]
    digit_ids: tuple[tuple[int, ...], ...]

    def as_metadata(self) -> dict[str, list[list[Any]]]:
        """The scene as JSON values."""
        return {name: [list(row) for row in getattr(self, name)] for name in ("digits", "colours", "digit_ids")}


@dataclass(frozen=True)
class Question:
    """A question about a scene, with all that is known about its answer."""

    kind: str
    question: str
    cue: str
    step: str
    answer: str
    evidence: tuple[dict[str, Any], ...]

    @property
    def reference(self) -> str:
        """A whole right response."""
        return _REFERENCE.format(cue=self.cue, step=self.step, answer=self.answer)


def questions(scene: Scene, kind: str) -> list[Question]:
    """Every question of a kind that the scene has one answer to."""
    return [_fill(kind, slots, answer, evidence) for slots, answer, evidence in _asked(scene, kind)]


_Asked = Iterator[tuple[dict[str, Any], int, list[dict[str, Any]]]]


def _asked(scene: Scene, kind: str) -> _Asked:
    """Slots, answer and evidence of each question of a kind."""
    if kind.startswith("column"):
        for column, name in enumerate(COLUMN_NAMES):
            a, b = (row[column] for row in scene.digits)
            answer = a + b if kind == "column_sum" else abs(a - b)
            yield {"column": name, "a": a, "b": b}, answer, [{"subject": f"{name} column", "value": [a, b]}]
    elif kind.startswith("row"):
        for name, (a, b, c) in zip(ROW_NAMES, scene.digits, strict=True):
            answer = max(a, b, c) if kind == "row_largest" else sum(d % 2 == 0 for d in (a, b, c))
            yield {"row": name, "a": a, "b": b, "c": c}, answer, [{"subject": f"{name} row", "value": [a, b, c]}]
    else:
        digits = [
            (colour, digit)
            for colours, row in zip(scene.colours, scene.digits, strict=True)
            for colour, digit in zip(colours, row, strict=True)
        ]
        for (first, a), (second, b) in permutations(digits, 2):
            if kind == "colour_larger" and a == b:
                continue  # neither is larger
            answer = a + b if kind == "colour_sum" else max(a, b)
            evidence = [{"subject": f"{first} digit", "value": a}, {"subject": f"{second} digit", "value": b}]
            yield {"first": first, "second": second, "a": a, "b": b}, answer, evidence


def _fill(kind: str, slots: Mapping[str, Any], answer: int, evidence: list[dict[str, Any]]) -> Question:
    templates = KINDS[kind]
    step = templates.step_for_one if answer == 1 and templates.step_for_one else templates.step
    slots = {**slots, "answer": answer}
    if "b" in slots:
        slots |= {"high": max(slots["a"], slots["b"]), "low": min(slots["a"], slots["b"])}
    return Question(
        kind=kind,
        question=templates.question.format(**slots),
        cue=templates.cue.format(**slots),
        step=step.format(**slots),
        answer=str(answer),
        evidence=tuple(evidence),
    )


def describe(scene: Mapping[str, Any]) -> str:
    """Says what a whole scene shows.

    Args:
        scene: ``metadata["scene"]`` of an example.

    Returns:
        "Top row: red 3, blue 7, green 1. Bottom row: ..."
    """
    return " ".join(
        _ROW_DESCRIPTION.format(row=name.capitalize(), first=one, second=two, third=three, a=a, b=b, c=c)
        for name, (one, two, three), (a, b, c) in zip(ROW_NAMES, scene["colours"], scene["digits"], strict=True)
    )


def words(text: str) -> list[str]:
    """Splits a text into words, numbers and single punctuation marks."""
    return re.findall(r"\w+|[^\w\s]", text)


def vocabulary() -> list[str]:
    """Every word, number and punctuation mark of these texts and of what stands around them in a prompt, sorted."""
    templates = [_REFERENCE, _ROW_DESCRIPTION, DESCRIBE_QUESTION]
    # The system prompt of Qwen's chats and the marker of a teacher's hint.
    templates += ["You are a helpful assistant.", "[Hint]:"]
    for kind in KINDS.values():
        templates += [kind.question, kind.cue, kind.step, kind.step_for_one or ""]
    values = [*COLOURS, *COLUMN_NAMES, *ROW_NAMES, *(name.capitalize() for name in ROW_NAMES)]
    values += [str(number) for number in range(LARGEST_NUMBER + 1)]
    literals = (literal for template in templates for literal, *_ in Formatter().parse(template))
    return sorted({word for text in [*literals, *values] for word in words(text)})
