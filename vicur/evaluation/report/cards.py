"""Sample cards: what base and students answered to a few questions, some of each outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vicur.data.schema import Example
from vicur.evaluation.predictions import Prediction
from vicur.evaluation.report.images import PageImage, page_image
from vicur.evaluation.report.models import ReportModel
from vicur.evaluation.selection import spread

Outcome = Literal["fixed", "broken", "right", "wrong"]
OUTCOMES: dict[Outcome, str] = {
    "fixed": "Fixed by student",
    "broken": "Broken by student",
    "right": "Both right",
    "wrong": "Both wrong",
}


@dataclass(frozen=True)
class Answer:
    """What one model answered."""

    model: ReportModel
    prediction: Prediction


@dataclass(frozen=True)
class Card:
    """One question.

    Attributes:
        example: the question and its answer.
        cue: the cue that a teacher would be hinted with, if there is one.
        images: its images; ``None`` for one that cannot be shown.
        answers: the base's answer, then the students'.
        outcomes: by number of the student.
    """

    example: Example
    cue: str | None
    images: tuple[PageImage | None, ...]
    answers: tuple[Answer, ...]
    outcomes: dict[int, Outcome]


def outcome(base: Prediction, student: Prediction) -> Outcome:
    """What became of a question between base and student."""
    if student.correct:
        return "right" if base.correct else "fixed"
    return "broken" if base.correct else "wrong"


def outcome_counts(base: Sequence[Prediction], student: Sequence[Prediction]) -> dict[Outcome, int]:
    """How many questions of a split met with which outcome."""
    counted = Counter(outcome(b, s) for b, s in zip(base, student, strict=True))
    return {name: counted[name] for name in OUTCOMES}


def cards(
    models: Sequence[ReportModel],
    predictions: Mapping[str, Sequence[Prediction]],
    examples: Mapping[str, Example],
    cues: Mapping[str, str],
    count: int,
    seed: int,
) -> list[Card]:
    """Draws cards, each outcome of the chosen student in turn.

    Args:
        models: the base first, then the chosen student, then the others.
        predictions: of one split, by model, in the same order of questions.
        examples: the split's examples by id.
        cues: cues by example id.
        count: number of cards, at most.
        seed: root seed.
    """
    rows = list(zip(*(predictions[model.name] for model in models), strict=True))
    drawn = spread(
        rows, count, by=lambda row: outcome(row[0], row[1]), apart=lambda row: row[0].group, seed=seed, name="cards"
    )
    made = []
    for row in drawn:
        example = examples[row[0].example_id]
        made.append(
            Card(
                example=example,
                cue=cues.get(example.id) or example.cue,
                images=tuple(page_image(image) for image in example.images),
                answers=tuple(Answer(model, p) for model, p in zip(models, row, strict=True)),
                outcomes={m.number: outcome(row[0], p) for m, p in zip(models[1:], row[1:], strict=True)},
            )
        )
    return made
