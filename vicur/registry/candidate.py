"""A student with everything that the gate and the registry need to know about it, checked for consistency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vicur.config.evaluation import REPORT_SPLIT
from vicur.errors import VicurError
from vicur.evaluation.compare import BASE, CHOSEN, ComparisonFile
from vicur.evaluation.comparison import COMPARISON, Evaluation, SplitComparison
from vicur.prompts.record import prompts_of
from vicur.registry.lineage import Lineage, StudentRecord, read_record, trace


@dataclass(frozen=True, eq=False)
class Candidate:
    """A student to register: its folders, its training record and lineage, its evaluation and comparison."""

    student: Path
    dataset: Path
    cues: Path
    evaluation_folder: Path
    comparison_folder: Path
    record: StudentRecord
    lineage: Lineage
    evaluation: Evaluation
    comparison: ComparisonFile
    """All students of the run compared with their base."""

    @property
    def on_test(self) -> SplitComparison:
        """The student and its base on the test questions."""
        return self.comparison.students[self.lineage.method].splits[REPORT_SPLIT]


def read_candidate(inputs: Mapping[str, Path]) -> Candidate:
    """Read the inputs of the registration stage. Evaluations that are not among them come from the comparison.

    Raises:
        VicurError: if an input cannot be read, or the inputs do not belong together.
    """
    lineage = trace(inputs)
    folder = inputs.get("evaluation", inputs["comparison"] / CHOSEN)
    evaluation, base = (
        Evaluation.load(folder),
        Evaluation.load(inputs.get("base_evaluation", inputs["comparison"] / BASE)),
    )
    _require_trained_prompts(inputs["student"], folder, evaluation)
    path = inputs["comparison"] / COMPARISON
    try:
        comparison = ComparisonFile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=str(path), remedy="Run the compare stage again."
        ) from error
    compared = comparison.students.get(lineage.method)
    # A comparison does not record which evaluations it was made from. Equal accuracies on all splits are the best
    # evidence that it was made from these.
    if (
        compared is None
        or evaluation.metrics.model.method != lineage.method
        or {split: each.accuracy for split, each in compared.splits.items()} != _accuracies(evaluation)
        or comparison.base_accuracy != _accuracies(base)
    ):
        raise VicurError(
            f"was not made from these evaluations of {lineage.method} and its base.",
            where=str(path),
            remedy="Pass the student, the evaluations and the comparison of one run.",
        )
    return Candidate(
        student=inputs["student"],
        dataset=inputs["dataset"],
        cues=inputs["cues"],
        evaluation_folder=folder,
        comparison_folder=inputs["comparison"],
        record=read_record(inputs["student"]),
        lineage=lineage,
        evaluation=evaluation,
        comparison=comparison,
    )


def _require_trained_prompts(student: Path, folder: Path, evaluation: Evaluation) -> None:
    # Servers use the prompts in the student's record, MLflow's model those of the evaluation. They must not differ.
    trained, evaluated = prompts_of(student), evaluation.metrics.prompts
    settings = {"system": "data.system_prompt", "choices_template": "data.choices_template"}
    different = [setting for name, setting in settings.items() if getattr(trained, name) != getattr(evaluated, name)]
    if different:
        raise VicurError(
            f"is an evaluation with another {' and '.join(different)} than the student was trained with.",
            where=str(folder),
            remedy="Evaluate the student with the settings of its training.",
        )


def _accuracies(evaluation: Evaluation) -> dict[str, float]:
    return {split: metrics.accuracy for split, metrics in evaluation.metrics.splits.items()}
