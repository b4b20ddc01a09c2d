"""Questions, cues, reasoning steps and responses about a digit scene, all generated from templates.

The tiny model has a small word-level vocabulary, which :func:`vocabulary` derives from these templates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, permutations
from string import Formatter
from typing import Any

from vicur.data.rendering import COLOURS

COLUMN_NAMES = ("left", "middle", "right")
ROW_NAMES = ("top", "bottom")
LARGEST_NUMBER = 27  # the sum of three nines; no answer is larger

DESCRIBE_QUESTION = "Describe the image."
"""Prompt whose response is :func:`describe`, used to train the base model and in :func:`combined`."""

_COLUMN_CUE = "The {column} column holds {a} and {b}."
_COLOUR_CUE = "The {first} digit is {a} and the {second} digit is {b}."
_ROW_CUE = "The {row} row holds {a}, {b} and {c}."
_SUM_STEP = "{a} plus {b} is {answer}."
_REFERENCE = "{cue} {step} Answer: {answer}"
_ROW_DESCRIPTION = "{row} row: {first} {a}, {second} {b}, {third} {c}."


@dataclass(frozen=True)
class _Kind:
    question: str
    cue: str
    step: str
    step_for_one: str | None = None  # "1 of them is", but "2 of them are"


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
    """Content of a scene, as 2 rows of 3 values."""

    digits: tuple[tuple[int, ...], ...]
    colours: tuple[tuple[str, ...], ...]
    digit_ids: tuple[tuple[int, ...], ...]  # indices in load_digits

    def as_metadata(self) -> dict[str, list[list[Any]]]:
        # JSON has no tuples.
        return {name: [list(row) for row in getattr(self, name)] for name in ("digits", "colours", "digit_ids")}


@dataclass(frozen=True)
class Question:
    """A question about a scene with its answer, cue, reasoning step and complete response."""

    kind: str
    question: str
    cue: str
    step: str
    reference: str
    answer: str
    evidence: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Candidate:
    """A possible question about a scene, before its texts are generated."""

    kind: str
    slots: Mapping[str, str | int]  # values for the templates
    answer: int
    evidence: tuple[dict[str, Any], ...]  # the parts of the scene that it refers to, with their digits

    def question(self) -> Question:
        templates = KINDS[self.kind]
        step = templates.step_for_one if self.answer == 1 and templates.step_for_one else templates.step
        slots = {**self.slots, "answer": self.answer}
        cue, solved = templates.cue.format(**slots), step.format(**slots)
        return Question(
            kind=self.kind,
            question=templates.question.format(**slots),
            cue=cue,
            step=solved,
            reference=_REFERENCE.format(cue=cue, step=solved, answer=self.answer),
            answer=str(self.answer),
            evidence=self.evidence,
        )


def candidate_questions(scene: Scene, kind: str) -> list[Candidate]:
    """Return every question of a kind that has exactly one correct answer in the scene."""
    if kind.startswith("column"):
        return [_about_column(scene, kind, column) for column in range(len(COLUMN_NAMES))]
    if kind.startswith("row"):
        return [_about_row(scene, kind, row) for row in range(len(ROW_NAMES))]
    digits = zip(chain(*scene.colours), chain(*scene.digits), strict=True)
    pairs = permutations(digits, 2)
    # Of two equal digits, neither is larger.
    return [_about_colours(kind, one, two) for one, two in pairs if kind != "colour_larger" or one[1] != two[1]]


def _about_column(scene: Scene, kind: str, column: int) -> Candidate:
    name = COLUMN_NAMES[column]
    a, b = (row[column] for row in scene.digits)
    slots: dict[str, str | int] = {"column": name, "a": a, "b": b, "high": max(a, b), "low": min(a, b)}
    answer = a + b if kind == "column_sum" else abs(a - b)
    return Candidate(kind, slots, answer, ({"subject": f"{name} column", "value": [a, b]},))


def _about_row(scene: Scene, kind: str, row: int) -> Candidate:
    name = ROW_NAMES[row]
    a, b, c = scene.digits[row]
    answer = max(a, b, c) if kind == "row_largest" else sum(digit % 2 == 0 for digit in (a, b, c))
    return Candidate(
        kind, {"row": name, "a": a, "b": b, "c": c}, answer, ({"subject": f"{name} row", "value": [a, b, c]},)
    )


def _about_colours(kind: str, one: tuple[str, int], two: tuple[str, int]) -> Candidate:
    (first, a), (second, b) = one, two
    answer = a + b if kind == "colour_sum" else max(a, b)
    evidence = ({"subject": f"{first} digit", "value": a}, {"subject": f"{second} digit", "value": b})
    return Candidate(kind, {"first": first, "second": second, "a": a, "b": b}, answer, evidence)


def describe(scene: Mapping[str, Any]) -> str:
    """Describe ``metadata["scene"]`` of an example: "Top row: red 3, blue 7, green 1. Bottom row: ..."."""
    return " ".join(
        _ROW_DESCRIPTION.format(row=name.capitalize(), first=one, second=two, third=three, a=a, b=b, c=c)
        for name, (one, two, three), (a, b, c) in zip(ROW_NAMES, scene["colours"], scene["digits"], strict=True)
    )


def combined(questions: Sequence[Question], scene: Scene) -> Question:
    """Combine several questions into one that needs a long response: a description of the scene, then an answer to each question."""
    # Answer and evidence remain those of the last question, because the last answer of a response counts.
    return replace(
        questions[-1],
        question=" ".join([DESCRIBE_QUESTION, *(q.question for q in questions)]),
        cue=" ".join(q.cue for q in questions),
        step=" ".join(q.step for q in questions),
        reference=" ".join([describe(scene.as_metadata()), *(q.reference for q in questions)]),
    )


def words(text: str) -> list[str]:
    """Split a text into words, numbers and single punctuation marks."""
    return re.findall(r"\w+|[^\w\s]", text)


def vocabulary() -> list[str]:
    """Return every word, number and punctuation mark of these texts and of the prompts that contain them, sorted."""
    templates = [_REFERENCE, _ROW_DESCRIPTION, DESCRIBE_QUESTION]
    # The system prompt of Qwen's chat template, and the marker of a teacher's hint.
    templates += ["You are a helpful assistant.", "[Hint]:"]
    for kind in KINDS.values():
        templates += [kind.question, kind.cue, kind.step, kind.step_for_one or ""]
    values = [*COLOURS, *COLUMN_NAMES, *ROW_NAMES, *(name.capitalize() for name in ROW_NAMES)]
    values += [str(number) for number in range(LARGEST_NUMBER + 1)]
    literals = (literal for template in templates for literal, *_ in Formatter().parse(template))
    return sorted({word for text in [*literals, *values] for word in words(text)})
