"""The models of a report, in the order and the colours in which every section shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vicur.evaluation.comparison import Comparison
from vicur.evaluation.metrics import ModelFacts

_PRIVILEGES = {"answer": "answer", "cue": "visual cue", "rationale": "rationale", "none": "none"}


@dataclass(frozen=True)
class ReportModel:
    """One model.

    Attributes:
        name: ``base`` or the student's method.
        number: 0 for the base, students from 1: the model's colour and its place everywhere.
        facts: what kind of model it is.
        chosen: whether it is the student that was chosen on validation.
    """

    name: str
    number: int
    facts: ModelFacts
    chosen: bool

    @property
    def teacher(self) -> str:
        """What its teacher was told."""
        if self.facts.privilege is None:
            return "not distilled"
        if self.facts.training.get("teacher", {}).get("type") == "none":
            return "no teacher"
        return _PRIVILEGES.get(self.facts.privilege, self.facts.privilege)

    @property
    def module(self) -> str:
        """Its cue recovery module, in a word or two."""
        if self.facts.cue_recovery is None:
            return "no"
        return f"yes, sink {self.facts.cue_recovery.get('sink', 'first')}"


def report_models(comparison: Comparison) -> list[ReportModel]:
    """The base, the chosen student, then the other students."""
    chosen = comparison.choice.method
    students: Sequence[str] = [chosen, *(m for m in comparison.students if m != chosen)]
    return [
        ReportModel("base", 0, comparison.base, chosen=False),
        *(
            ReportModel(name, number, comparison.students[name].model, chosen=name == chosen)
            for number, name in enumerate(students, start=1)
        ),
    ]
