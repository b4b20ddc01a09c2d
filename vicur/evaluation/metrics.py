"""Metrics of one evaluated model, computed from its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from vicur.config.blind import BlindView
from vicur.config.prompts import PromptConfig, is_default
from vicur.errors import VicurError
from vicur.evaluation.latency_metrics import LatencyMetrics
from vicur.evaluation.predictions import Prediction
from vicur.evaluation.statistics import Difference

METRICS = "metrics.json"
CUT_OFF_LIMIT = 0.05  # share of responses at the maximum length above which an evaluation warns


class KindMetrics(BaseModel):
    examples: int
    accuracy: float


class EvidenceMetrics(BaseModel):
    """Correctness of answers and of the evidence stated for them, over the examples that have evidence."""

    examples: int
    right: float
    """Share of responses with correct evidence, regardless of their answer."""
    # The following four shares add up to 1.
    both_right: float
    # A correct answer on wrong evidence was guessed or copied, not seen.
    answer_only: float
    """Correct answer on wrong or missing evidence."""
    evidence_only: float
    """Correct evidence, wrong answer."""
    both_wrong: float


class LeakageMetrics(BaseModel):
    """Hint leakage as the paper counts it: responses with the word "Hint", and occurrences of the word."""

    samples: int
    occurrences: int


class BlindMetrics(BaseModel):
    """Accuracy without seeing the image of a question, beside that on the same questions with their images.

    A high accuracy means that the questions can be answered without looking.
    """

    examples: int
    accuracy: float
    sighted_accuracy: float
    """Accuracy on the same questions with their images."""
    image_gain: Difference
    """What the images add: accuracy with them minus accuracy without, with its interval."""


class RepeatMetrics(BaseModel):
    """Accuracy of several sampled responses to each question."""

    examples: int
    count: int
    """Responses to each question."""
    mean: float
    """Share of correct responses."""
    low: float
    high: float
    """95 % interval of the mean: bootstrap over groups of questions."""
    pass_at: dict[int, float]
    """Probability that at least one of k responses is correct, by k."""
    unfinished_share: float
    """Share of responses that were cut off at the maximum length."""
    sampling: dict[str, Any]


class SplitMetrics(BaseModel):
    """Metrics of one split. Shares are between 0 and 1."""

    examples: int
    groups: int
    accuracy: float
    by_kind: dict[str, KindMetrics]
    evidence: EvidenceMetrics | None
    """``None`` if no example of the split has evidence."""
    hint_leakage: LeakageMetrics
    mean_words: float
    mean_tokens: float
    # Such responses rarely state an answer, so a high share explains a low accuracy.
    unfinished_share: float
    """Share of responses that were cut off at the maximum length."""
    # Left out if it is 0, so that metrics without such questions are as before.
    unanswered: int = Field(default=0, exclude_if=lambda count: count == 0)
    """Questions without a response because their prompt is too long. They count as answered incorrectly."""
    blind: dict[BlindView, BlindMetrics] = Field(default={}, exclude_if=lambda blind: not blind)
    """Accuracy without the image, by what is shown in its place. Empty if it was not measured."""
    repeats: RepeatMetrics | None = Field(default=None, exclude_if=lambda repeats: repeats is None)
    """Accuracy of repeated samples; ``None`` if it was not measured."""

    @property
    def many_cut_off(self) -> bool:
        """Whether so many responses were cut off that the accuracy is too low."""
        return self.unfinished_share > CUT_OFF_LIMIT


class ModelFacts(BaseModel):
    """Description of the evaluated model. A base has no privilege and no training settings."""

    method: str
    """Training method of a student, or ``base`` for a model that was not distilled."""
    privilege: str | None
    training: dict[str, Any] = {}
    """All settings that the student was trained with, defaults included."""
    cue_recovery: dict[str, Any] | None
    """Settings of the cue recovery module; ``None`` for a model without one, or evaluated with the module off."""
    parameters: int


class EvaluationMetrics(BaseModel):
    """Content of ``metrics.json``."""

    model: ModelFacts
    decoding: dict[str, Any]
    """Sampling settings of the evaluation."""
    prompts: PromptConfig = Field(default=PromptConfig(), exclude_if=is_default)
    """System message, template of choices and pixel budget of the evaluation."""
    splits: dict[str, SplitMetrics]
    """By split of the dataset, then by name of evaluation set."""
    latency: LatencyMetrics | None = Field(default=None, exclude_if=lambda latency: latency is None)
    """Seconds per response; ``None`` if they were not measured."""


def measure(predictions: Sequence[Prediction]) -> SplitMetrics:
    """Compute the metrics of the predictions of one split.

    Raises:
        ValueError: if ``predictions`` is empty.
    """
    if not predictions:
        raise ValueError("cannot measure a split without predictions")
    count = len(predictions)
    kinds = sorted({p.kind for p in predictions})
    responses = [p for p in predictions if p.unanswered is None]
    total = max(1, len(responses))
    return SplitMetrics(
        examples=count,
        groups=len({p.group for p in predictions}),
        accuracy=sum(p.correct for p in predictions) / count,
        by_kind={kind: _kind([p for p in predictions if p.kind == kind]) for kind in kinds},
        evidence=_evidence(predictions),
        hint_leakage=LeakageMetrics(
            samples=sum(p.hint_leaks > 0 for p in predictions), occurrences=sum(p.hint_leaks for p in predictions)
        ),
        mean_words=sum(p.words for p in responses) / total,
        mean_tokens=sum(p.tokens for p in responses) / total,
        unfinished_share=sum(not p.finished for p in responses) / total,
        unanswered=count - len(responses),
    )


def _kind(predictions: Sequence[Prediction]) -> KindMetrics:
    return KindMetrics(examples=len(predictions), accuracy=sum(p.correct for p in predictions) / len(predictions))


def _evidence(predictions: Sequence[Prediction]) -> EvidenceMetrics | None:
    # Examples without evidence have ``None`` and are left out of the denominators too.
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


def figures(metrics: EvaluationMetrics) -> dict[str, float]:
    """Return the figures of an evaluation for MLflow and the pipeline's metrics artifact, by ``<split>/<name>``."""
    found = {f"{split}/{name}": value for split, m in metrics.splits.items() for name, value in _figures(m).items()}
    if metrics.latency is not None:
        found |= {
            "latency/median_seconds": metrics.latency.median_seconds,
            "latency/p95_seconds": metrics.latency.p95_seconds,
        }
    return found


def _figures(metrics: SplitMetrics) -> dict[str, float]:
    found = {
        "accuracy": metrics.accuracy,
        "hint_leakage_samples": float(metrics.hint_leakage.samples),
        "hint_leakage_occurrences": float(metrics.hint_leakage.occurrences),
        "mean_tokens": metrics.mean_tokens,
        "unfinished_share": metrics.unfinished_share,
        "unanswered": float(metrics.unanswered),
        **{f"accuracy_{kind}": of_kind.accuracy for kind, of_kind in metrics.by_kind.items()},
    }
    if metrics.evidence is not None:
        found |= {"evidence_right": metrics.evidence.right, "answer_without_evidence": metrics.evidence.answer_only}
    for view, blind in metrics.blind.items():
        found |= {f"blind/{view}/accuracy": blind.accuracy, f"blind/{view}/image_gain": blind.image_gain.mean}
    if metrics.repeats is not None:
        found["repeats/mean"] = metrics.repeats.mean
        found |= {f"repeats/pass_at/{k}": share for k, share in metrics.repeats.pass_at.items()}
    return found


def write_metrics(metrics: EvaluationMetrics, folder: Path) -> None:
    (folder / METRICS).write_text(metrics.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_metrics(folder: Path) -> EvaluationMetrics:
    """Read the metrics of the evaluation in ``folder``.

    Raises:
        VicurError: if the file is missing or damaged.
    """
    path = folder / METRICS
    try:
        return EvaluationMetrics.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=str(path), remedy="Run the evaluate stage again."
        ) from error
