"""Students against their base and against each other, question by question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from vicur.config.evaluation import CHOICE_SPLIT, REPORT_SPLIT
from vicur.errors import VicurError
from vicur.evaluation.metrics import EvaluationMetrics, ModelFacts, read_metrics
from vicur.evaluation.predictions import Prediction, read_predictions
from vicur.evaluation.statistics import Difference

COMPARISON = "comparison.json"

Aspect = Literal["privilege", "cue recovery", "teacher", "objective", "what is trained", "other settings"]
"""What two students may differ in beside the method's name."""
Bootstrap = Callable[[Sequence[bool], Sequence[bool], Sequence[str]], Difference]
"""Difference in accuracy of two models on the same questions, given the questions' groups."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What the evaluate stage found for one model."""

    metrics: EvaluationMetrics
    predictions: dict[str, list[Prediction]]
    """By split."""

    @classmethod
    def load(cls, folder: Path) -> Evaluation:
        """Reads an evaluation's folder.

        Raises:
            VicurError: where it is not whole.
        """
        predictions: dict[str, list[Prediction]] = {}
        for prediction in read_predictions(folder):
            predictions.setdefault(prediction.split, []).append(prediction)
        return cls(read_metrics(folder), predictions)


class KindComparison(BaseModel):
    """A student and its base on one kind of question."""

    examples: int
    accuracy: float
    base_accuracy: float
    difference: Difference


class SplitComparison(BaseModel):
    """A student and its base on one split."""

    examples: int
    groups: int
    accuracy: float
    base_accuracy: float
    difference: Difference
    fixed: int
    """Questions that the student answers correctly and its base does not."""
    broken: int
    """Questions that the base answers correctly and its student does not."""
    by_kind: dict[str, KindComparison]


class StudentComparison(BaseModel):
    """A student and its base."""

    model: ModelFacts
    splits: dict[str, SplitComparison]


class PairComparison(BaseModel):
    """Two students. Differences are the first one's accuracy minus the second one's."""

    first: str
    second: str
    differ_in: list[Aspect]
    splits: dict[str, Difference]


class Choice(BaseModel):
    """The better student, chosen without a look at the test questions."""

    method: str
    split: str
    accuracy: dict[str, float]
    """Accuracy of each student on ``split``."""
    tied_with: list[str]
    """Students whose difference to the chosen one has an interval that includes zero."""


class Comparison(BaseModel):
    """All of ``comparison.json`` but its sentences."""

    base: ModelFacts
    base_accuracy: dict[str, float]
    """Accuracy of the base by split."""
    students: dict[str, StudentComparison]
    pairs: list[PairComparison]
    choice: Choice
    confidence: float
    resamples: int
    seed: int


def compare_models(
    base: Evaluation,
    students: Mapping[str, Evaluation],
    bootstrap: Bootstrap,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Comparison:
    """Compares students with their base and with each other.

    Args:
        base: evaluation of the model that the students started from.
        students: their evaluations, by method.
        bootstrap: gives differences; the other settings are those that it works with, for the record.
        confidence: level of its intervals.
        resamples: its resamples.
        seed: its seed.

    Raises:
        VicurError: where a student was evaluated on other questions or with other settings than its base, and where
            there is nothing to choose the better student by.
    """
    for method, student in students.items():
        require_same_terms(base, student, method)
    choice = _choose(students, bootstrap)
    return Comparison(
        base=base.metrics.model,
        base_accuracy={split: m.accuracy for split, m in base.metrics.splits.items()},
        students={
            method: StudentComparison(
                model=student.metrics.model,
                splits={
                    s: _compare_split(base.predictions[s], student.predictions[s], bootstrap) for s in base.predictions
                },
            )
            for method, student in students.items()
        },
        pairs=[_compare_pair(a, b, students, choice, bootstrap) for a, b in combinations(students, 2)],
        choice=choice,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def require_same_terms(base: Evaluation, student: Evaluation, method: str) -> None:
    """Refuses evaluations that cannot be compared question by question.

    Raises:
        VicurError: where they are of other questions, or of responses that were decoded otherwise.
    """
    asked = {split: [p.example_id for p in rows] for split, rows in base.predictions.items()}
    answered = {split: [p.example_id for p in rows] for split, rows in student.predictions.items()}
    if asked != answered:
        raise VicurError(
            "was evaluated on other questions than its base.",
            where=f"student {method}",
            remedy="Evaluate both on the same dataset with the same splits.",
        )
    if base.metrics.decoding != student.metrics.decoding:
        raise VicurError(
            f"was decoded with {student.metrics.decoding}, its base with {base.metrics.decoding}.",
            where=f"student {method}",
            remedy="Evaluate both with the same settings.",
        )


def _difference(first: Sequence[Prediction], second: Sequence[Prediction], bootstrap: Bootstrap) -> Difference:
    return bootstrap([p.correct for p in first], [p.correct for p in second], [p.group for p in first])


def _accuracy(predictions: Sequence[Prediction]) -> float:
    return sum(p.correct for p in predictions) / len(predictions)


def _compare_split(base: list[Prediction], student: list[Prediction], bootstrap: Bootstrap) -> SplitComparison:
    by_kind = {}
    for kind in sorted({p.kind for p in base}):
        ours, theirs = ([p for p in rows if p.kind == kind] for rows in (student, base))
        by_kind[kind] = KindComparison(
            examples=len(ours),
            accuracy=_accuracy(ours),
            base_accuracy=_accuracy(theirs),
            difference=_difference(ours, theirs, bootstrap),
        )
    return SplitComparison(
        examples=len(base),
        groups=len({p.group for p in base}),
        accuracy=_accuracy(student),
        base_accuracy=_accuracy(base),
        difference=_difference(student, base, bootstrap),
        fixed=sum(s.correct and not b.correct for s, b in zip(student, base, strict=True)),
        broken=sum(b.correct and not s.correct for s, b in zip(student, base, strict=True)),
        by_kind=by_kind,
    )


def _choose(students: Mapping[str, Evaluation], bootstrap: Bootstrap) -> Choice:
    """The student with the highest validation accuracy; of equals the smaller, then the first by name."""
    split = CHOICE_SPLIT
    if any(split not in student.predictions for student in students.values()):
        if len(students) > 1:
            raise VicurError(
                f"the better of {len(students)} students is chosen on split {split!r}, and they have not answered it.",
                where="evaluation",
                remedy=f"Give the dataset a {split!r} split and evaluate on it, or train one method.",
            )
        split = REPORT_SPLIT
    accuracy = {method: _accuracy(student.predictions[split]) for method, student in students.items()}
    best = min(students, key=lambda m: (-accuracy[m], students[m].metrics.model.parameters, m))
    tied = [
        other
        for other in students
        if other != best
        and _difference(students[best].predictions[split], students[other].predictions[split], bootstrap).verdict
        == "tie"
    ]
    return Choice(method=best, split=split, accuracy=accuracy, tied_with=tied)


def _compare_pair(
    one: str, other: str, students: Mapping[str, Evaluation], choice: Choice, bootstrap: Bootstrap
) -> PairComparison:
    def rank(method: str) -> tuple[bool, bool, float]:
        model = students[method].metrics.model
        return model.cue_recovery is not None, model.privilege == "cue", choice.accuracy[method]

    # What is under test comes first: the module, the cue, else the better student.
    first, second = sorted((one, other), key=rank, reverse=True)
    a, b = students[first], students[second]
    return PairComparison(
        first=first,
        second=second,
        differ_in=_differences(a.metrics.model, b.metrics.model),
        splits={split: _difference(a.predictions[split], b.predictions[split], bootstrap) for split in a.predictions},
    )


def _differences(a: ModelFacts, b: ModelFacts) -> list[Aspect]:
    """What two students differ in."""
    named: dict[str, Aspect] = {"teacher": "teacher", "objective": "objective", "trained": "what is trained"}
    told_apart = {*named, "method", "privilege", "recovery", "per_method"}
    rest_a, rest_b = ({k: v for k, v in m.training.items() if k not in told_apart} for m in (a, b))
    found: dict[Aspect, bool] = {
        "privilege": a.privilege != b.privilege,
        "cue recovery": a.cue_recovery != b.cue_recovery,
        **{aspect: a.training.get(key) != b.training.get(key) for key, aspect in named.items()},
        "other settings": rest_a != rest_b,
    }
    return [aspect for aspect, differs in found.items() if differs]
