"""Figures of one evaluated model, from its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from vicur.errors import VicurError
from vicur.evaluation.predictions import Prediction

METRICS = "metrics.json"


class KindMetrics(BaseModel):
    """Figures of one kind of question."""

    examples: int
    accuracy: float


class EvidenceMetrics(BaseModel):
    """How answers and the evidence stated for them go together, over the examples that hold evidence.

    The four shares add up to 1. An answer that is right on wrong evidence was guessed or copied, not seen.
    """

    examples: int
    right: float
    """Share of responses whose evidence is right, whatever their answer."""
    both_right: float
    answer_only: float
    """Right answer on wrong or missing evidence."""
    evidence_only: float
    """Right evidence, wrong answer."""
    both_wrong: float


class LeakageMetrics(BaseModel):
    """Hint leakage, in the paper's two counts."""

    samples: int
    """Responses that hold the word "Hint"."""
    occurrences: int
    """How often they hold it."""


class SplitMetrics(BaseModel):
    """Figures of one split. Shares are between 0 and 1."""

    examples: int
    groups: int
    accuracy: float
    by_kind: dict[str, KindMetrics]
    evidence: EvidenceMetrics | None
    """``None`` where no example of the split holds evidence."""
    hint_leakage: LeakageMetrics
    mean_words: float
    mean_tokens: float
    unfinished_share: float
    """Share of responses that were cut off at the longest length."""


class ModelFacts(BaseModel):
    """What kind of model was evaluated."""

    method: str
    """Training method of a student; ``base`` for a model that was not distilled."""
    privilege: str | None
    """What the student's teacher knew; ``None`` for a base."""
    training: dict[str, Any] = {}
    """Settings that the student was trained with, nothing left out; empty for a base."""
    cue_recovery: dict[str, Any] | None
    """Settings of the cue recovery module; ``None`` for a model without it, and for one that was evaluated with it off."""
    parameters: int


class EvaluationMetrics(BaseModel):
    """Content of ``metrics.json``."""

    model: ModelFacts
    decoding: dict[str, Any]
    """The sampling that was in force."""
    splits: dict[str, SplitMetrics]


def measure(predictions: Sequence[Prediction]) -> SplitMetrics:
    """Figures of the predictions of one split.

    Raises:
        ValueError: for no predictions.
    """
    if not predictions:
        raise ValueError("no predictions to measure")
    count = len(predictions)
    kinds = sorted({p.kind for p in predictions})
    return SplitMetrics(
        examples=count,
        groups=len({p.group for p in predictions}),
        accuracy=sum(p.correct for p in predictions) / count,
        by_kind={kind: _kind([p for p in predictions if p.kind == kind]) for kind in kinds},
        evidence=_evidence(predictions),
        hint_leakage=LeakageMetrics(
            samples=sum(p.hint_leaks > 0 for p in predictions), occurrences=sum(p.hint_leaks for p in predictions)
        ),
        mean_words=sum(p.words for p in predictions) / count,
        mean_tokens=sum(p.tokens for p in predictions) / count,
        unfinished_share=sum(not p.finished for p in predictions) / count,
    )


def _kind(predictions: Sequence[Prediction]) -> KindMetrics:
    return KindMetrics(examples=len(predictions), accuracy=sum(p.correct for p in predictions) / len(predictions))


def _evidence(predictions: Sequence[Prediction]) -> EvidenceMetrics | None:
    stated = [(p.correct, bool(p.evidence_right)) for p in predictions if p.evidence_right is not None]
    if not stated:
        return None

    def share(correct: bool, evidence: bool) -> float:
        return stated.count((correct, evidence)) / len(stated)

    return EvidenceMetrics(
        examples=len(stated),
        right=sum(evidence for _, evidence in stated) / len(stated),
        both_right=share(True, True),
        answer_only=share(True, False),
        evidence_only=share(False, True),
        both_wrong=share(False, False),
    )


def write_metrics(metrics: EvaluationMetrics, folder: Path) -> None:
    """Writes ``metrics.json`` into ``folder``."""
    (folder / METRICS).write_text(metrics.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_metrics(folder: Path) -> EvaluationMetrics:
    """The figures of the evaluation in ``folder``.

    Raises:
        VicurError: where the folder holds no whole evaluation.
    """
    path = folder / METRICS
    try:
        return EvaluationMetrics.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=str(path), remedy="Run the evaluate stage again."
        ) from error
