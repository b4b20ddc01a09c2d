"""Compare students with their base and with each other, question by question."""

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
from vicur.evaluation.significance import PairedTests, mcnemar, paired_tests
from vicur.evaluation.statistics import Difference
from vicur.wording import differences, listed

COMPARISON = "comparison.json"

Aspect = Literal["privilege", "cue recovery", "teacher", "objective", "what is trained", "other settings"]
"""A respect, other than the method's name, in which two students can differ."""
Bootstrap = Callable[[Sequence[int], Sequence[int], Sequence[str]], Difference]
"""Computes the difference in accuracy of two models on the same questions from their results and the groups."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Output of the evaluate stage for one model, with the predictions by split."""

    metrics: EvaluationMetrics
    predictions: dict[str, list[Prediction]]

    @classmethod
    def load(cls, folder: Path) -> Evaluation:
        """Read the folder of an evaluation.

        Raises:
            VicurError: if a file is missing or damaged.
        """
        predictions: dict[str, list[Prediction]] = {}
        for prediction in read_predictions(folder):
            predictions.setdefault(prediction.split, []).append(prediction)
        return cls(read_metrics(folder), predictions)


class KindComparison(BaseModel):
    examples: int
    accuracy: float
    base_accuracy: float
    difference: Difference


class SplitComparison(BaseModel):
    """A student and its base on one split or evaluation set."""

    examples: int
    groups: int
    accuracy: float
    base_accuracy: float
    difference: Difference
    fixed: int
    """Questions that the student answers correctly and its base does not."""
    broken: int
    """Questions that the base answers correctly and its student does not."""
    tests: PairedTests | None = None
    """Tests of the difference; ``None`` in comparisons by earlier releases."""
    by_kind: dict[str, KindComparison]


class StudentComparison(BaseModel):
    model: ModelFacts
    splits: dict[str, SplitComparison]


class PairComparison(BaseModel):
    """Two students. Differences are the accuracy of the first minus that of the second."""

    first: str
    second: str
    differ_in: list[Aspect]
    splits: dict[str, Difference]
    tests: dict[str, PairedTests] = {}
    """Tests of the differences by split."""


class Choice(BaseModel):
    """The best student, chosen without the test questions."""

    method: str
    split: str
    accuracy: dict[str, float]
    """Accuracy of each student on ``split``."""
    tied_with: list[str]
    """Students whose difference to the chosen one has an interval that includes zero."""


class Comparison(BaseModel):
    """Content of ``comparison.json`` without the verdicts."""

    base: ModelFacts
    base_accuracy: dict[str, float]
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
    """Compare students with their base and with each other.

    ``confidence``, ``resamples`` and ``seed`` are the settings of ``bootstrap``, recorded in the result.

    Raises:
        VicurError: if a student was evaluated on other questions or with other settings than its base, or if there are
            several students and no validation split to choose by.
    """
    for method, student in students.items():
        require_same_terms(base, student, method)
    choice = _choose(students, bootstrap)
    compared = {
        method: StudentComparison(
            model=student.metrics.model,
            splits={
                s: _compare_split(base.predictions[s], student.predictions[s], bootstrap) for s in base.predictions
            },
        )
        for method, student in students.items()
    }
    pairs = [_compare_pair(a, b, students, choice, bootstrap) for a, b in combinations(students, 2)]
    for split in base.predictions:
        _test(split, compared, pairs, students)
    return Comparison(
        base=base.metrics.model,
        base_accuracy={split: m.accuracy for split, m in base.metrics.splits.items()},
        students=compared,
        pairs=pairs,
        choice=choice,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def require_same_terms(base: Evaluation, student: Evaluation, method: str) -> None:
    """Check that two evaluations can be compared question by question.

    Raises:
        VicurError: if they cover different questions, or their responses were decoded with different settings.
    """
    # The order counts too: questions are paired by their position.
    of_base = {split: [p.example_id for p in rows] for split, rows in base.predictions.items()}
    of_student = {split: [p.example_id for p in rows] for split, rows in student.predictions.items()}
    if of_base != of_student:
        splits = sorted(s for s in of_base.keys() | of_student.keys() if of_base.get(s) != of_student.get(s))
        raise VicurError(
            f"was evaluated on different questions than its base (split {listed(splits)}).",
            where=f"student {method}",
            remedy="Evaluate both on the same dataset, with the same splits and the same evaluation.max_examples.",
        )
    changed = differences(
        base.metrics.decoding, student.metrics.decoding, "{key} is {second}, but {first} for the base"
    )
    if changed:
        raise VicurError(
            f"was decoded with different settings than its base: {listed(changed)}.",
            where=f"student {method}",
            remedy="Evaluate both with the same settings in evaluation.decoding.",
        )
    if base.metrics.prompts != student.metrics.prompts:
        raise VicurError(
            "was evaluated with another system prompt, template of choices or pixel budget than its base.",
            where=f"student {method}",
            remedy="Evaluate both with the same settings data.system_prompt, data.choices_template and data.pixels.",
        )


def _difference(first: Sequence[Prediction], second: Sequence[Prediction], bootstrap: Bootstrap) -> Difference:
    return bootstrap([p.correct for p in first], [p.correct for p in second], [p.group for p in first])


def _accuracy(predictions: Sequence[Prediction]) -> float:
    return sum(p.correct for p in predictions) / len(predictions)


def _compare_split(base: list[Prediction], student: list[Prediction], bootstrap: Bootstrap) -> SplitComparison:
    by_kind = {}
    for kind in sorted({p.kind for p in base}):
        # Both lists hold the same questions in the same order, so the two selections still match row by row.
        of_student, of_base = ([p for p in rows if p.kind == kind] for rows in (student, base))
        by_kind[kind] = KindComparison(
            examples=len(of_student),
            accuracy=_accuracy(of_student),
            base_accuracy=_accuracy(of_base),
            difference=_difference(of_student, of_base, bootstrap),
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


def _test(
    split: str,
    compared: Mapping[str, StudentComparison],
    pairs: Sequence[PairComparison],
    students: Mapping[str, Evaluation],
) -> None:
    """Test all differences on a split. Those of students with their base and with each other are corrected together."""
    of_students = [student.splits[split] for student in compared.values()]
    mcnemars = [mcnemar(each.fixed, each.broken) for each in of_students]
    for pair in pairs:
        first, second = (students[name].predictions[split] for name in (pair.first, pair.second))
        differ = [a.correct for a, b in zip(first, second, strict=True) if a.correct != b.correct]
        mcnemars.append(mcnemar(sum(differ), len(differ) - sum(differ)))
    bootstraps = [each.difference.p for each in of_students] + [pair.splits[split].p for pair in pairs]
    tests = paired_tests(mcnemars, bootstraps)
    for each, tested in zip(of_students, tests, strict=False):
        each.tests = tested
    for pair, tested in zip(pairs, tests[len(of_students) :], strict=True):
        pair.tests[split] = tested


def _choose(students: Mapping[str, Evaluation], bootstrap: Bootstrap) -> Choice:
    split = CHOICE_SPLIT
    if any(split not in student.predictions for student in students.values()):
        if len(students) > 1:
            raise VicurError(
                f"the best of {len(students)} students is chosen on split {split!r}, but not all were evaluated on it.",
                where="evaluation.splits",
                remedy=f"Add {split!r} to evaluation.splits (the dataset needs such a split), or train one method.",
            )
        # A single student needs no choice, so its test accuracy may be recorded without any selection bias.
        split = REPORT_SPLIT
    accuracy = {method: _accuracy(student.predictions[split]) for method, student in students.items()}
    # Of equally accurate students, prefer the smaller model, then the first name.
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

    # The treatment comes first: the student with the module, else the one with the cue, else the more accurate one.
    first, second = sorted((one, other), key=rank, reverse=True)
    a, b = students[first], students[second]
    return PairComparison(
        first=first,
        second=second,
        differ_in=_aspects(a.metrics.model, b.metrics.model),
        splits={split: _difference(a.predictions[split], b.predictions[split], bootstrap) for split in a.predictions},
    )


def _aspects(a: ModelFacts, b: ModelFacts) -> list[Aspect]:
    named: dict[str, Aspect] = {"teacher": "teacher", "objective": "objective", "trained": "what is trained"}
    # Settings that have an aspect to themselves, or that cannot change a student (the method's name, and settings of
    # other methods). Whatever is left falls under "other settings".
    covered = {*named, "method", "privilege", "recovery", "per_method"}
    rest_a, rest_b = ({k: v for k, v in m.training.items() if k not in covered} for m in (a, b))
    differs: dict[Aspect, bool] = {
        "privilege": a.privilege != b.privilege,
        "cue recovery": a.cue_recovery != b.cue_recovery,
        **{aspect: a.training.get(key) != b.training.get(key) for key, aspect in named.items()},
        "other settings": rest_a != rest_b,
    }
    return [aspect for aspect, is_different in differs.items() if is_different]
