"""A student with all that speaks for and against it, read from a stage's inputs and held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vicur.config.evaluation import REPORT_SPLIT
from vicur.errors import VicurError
from vicur.evaluation.compare import ComparisonFile
from vicur.evaluation.comparison import COMPARISON, Evaluation, SplitComparison
from vicur.registry.lineage import Lineage, StudentRecord, read_record, trace


@dataclass(frozen=True, eq=False)
class Candidate:
    """A student that asks to be registered.

    Attributes:
        student: its folder.
        dataset: the dataset's folder.
        evaluation: folder of its evaluation.
        comparison_folder: folder with the report.
        record: what its training wrote down.
        lineage: where it comes from.
        answers: its evaluation.
        comparison: of all students of the run with their base.
    """

    student: Path
    dataset: Path
    evaluation: Path
    comparison_folder: Path
    record: StudentRecord
    lineage: Lineage
    answers: Evaluation
    comparison: ComparisonFile

    @property
    def shown(self) -> SplitComparison:
        """The student and its base on the test questions."""
        return self.comparison.students[self.lineage.method].splits[REPORT_SPLIT]


def read_case(inputs: Mapping[str, Path]) -> Candidate:
    """Reads the inputs of the registration stage.

    Raises:
        VicurError: where one cannot be read, or they do not belong together.
    """
    lineage = trace(inputs)
    answers, base = Evaluation.load(inputs["evaluation"]), Evaluation.load(inputs["base_evaluation"])
    path = inputs["comparison"] / COMPARISON
    try:
        comparison = ComparisonFile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=str(path), remedy="Run the compare stage again."
        ) from error
    compared = comparison.students.get(lineage.method)
    if (
        compared is None
        or answers.metrics.model.method != lineage.method
        or {split: found.accuracy for split, found in compared.splits.items()} != _accuracies(answers)
        or comparison.base_accuracy != _accuracies(base)
    ):
        raise VicurError(
            f"does not compare this student ({lineage.method}) with its base by these evaluations.",
            where=str(path),
            remedy="Pass student, evaluations and comparison of one run.",
        )
    return Candidate(
        student=inputs["student"],
        dataset=inputs["dataset"],
        evaluation=inputs["evaluation"],
        comparison_folder=inputs["comparison"],
        record=read_record(inputs["student"]),
        lineage=lineage,
        answers=answers,
        comparison=comparison,
    )


def _accuracies(evaluation: Evaluation) -> dict[str, float]:
    return {split: metrics.accuracy for split, metrics in evaluation.metrics.splits.items()}
