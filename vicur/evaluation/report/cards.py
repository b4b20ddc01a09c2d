"""Sample cards: the answers of base and students to a few questions, balanced over the outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vicur.data.schema import Example
from vicur.evaluation.predictions import Prediction
from vicur.evaluation.report.images import PageImage, page_image
from vicur.evaluation.report.models import ReportModel
from vicur.evaluation.selection import sample_evenly

_FRAMES = 6  # of a video on a card

Outcome = Literal["fixed", "broken", "right", "wrong"]
OUTCOMES: dict[Outcome, str] = {
    "fixed": "Fixed by student",
    "broken": "Broken by student",
    "right": "Both right",
    "wrong": "Both wrong",
}


@dataclass(frozen=True)
class Answer:
    model: ReportModel
    prediction: Prediction


@dataclass(frozen=True)
class Card:
    """One question with the answers of the base and the students, in that order."""

    example: Example
    cue: str | None
    # None for an image that cannot be decoded.
    images: tuple[PageImage | None, ...]
    answers: tuple[Answer, ...]
    outcomes: dict[int, Outcome]
    """By number of the student."""


def outcome(base: Prediction, student: Prediction) -> Outcome:
    """Return which of base and student answer a question correctly."""
    if student.correct:
        return "right" if base.correct else "fixed"
    return "broken" if base.correct else "wrong"


def outcome_counts(base: Sequence[Prediction], student: Sequence[Prediction]) -> dict[Outcome, int]:
    """Count the questions of a split by outcome."""
    counts = Counter(outcome(b, s) for b, s in zip(base, student, strict=True))
    return {name: counts[name] for name in OUTCOMES}


def cards(
    models: Sequence[ReportModel],
    predictions: Mapping[str, Sequence[Prediction]],
    examples: Mapping[str, Example],
    cues: Mapping[str, str],
    count: int,
    seed: int,
) -> list[Card]:
    """Sample up to ``count`` cards evenly over the outcomes of the chosen student.

    ``models`` are the base, the chosen student, then the others. Their predictions are in the same order of questions;
    examples and cues are by example id.
    """
    rows = list(zip(*(predictions[model.name] for model in models), strict=True))
    # row[0] is the base and row[1] the chosen student.
    sampled = sample_evenly(
        rows, count, by=lambda row: outcome(row[0], row[1]), apart=lambda row: row[0].group, seed=seed, name="cards"
    )
    result = []
    for row in sampled:
        example = examples[row[0].example_id]
        result.append(
            Card(
                example=example,
                cue=cues.get(example.id) or example.cue,
                images=tuple(page_image(image) for image in example.strip(_FRAMES)),
                answers=tuple(Answer(model, p) for model, p in zip(models, row, strict=True)),
                outcomes={m.number: outcome(row[0], p) for m, p in zip(models[1:], row[1:], strict=True)},
            )
        )
    return result
