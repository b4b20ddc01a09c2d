"""The models of a report, in the order and the colours that all sections share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vicur.evaluation.comparison import Comparison
from vicur.evaluation.metrics import ModelFacts

_PRIVILEGES = {"answer": "answer", "cue": "visual cue", "rationale": "rationale", "none": "none"}


@dataclass(frozen=True)
class ReportModel:
    """The base (``base``, number 0) or a student (its method, numbers from 1)."""

    name: str
    # Determines the colour of the model and its position in every section.
    number: int
    facts: ModelFacts
    chosen: bool
    """Whether it is the student that was chosen on validation."""

    @property
    def teacher(self) -> str:
        """The privilege of its teacher."""
        if self.facts.privilege is None:
            return "not distilled"
        # SFT and GRPO have no teacher. Their privilege is "none", which for other methods means a teacher without a hint.
        if self.facts.training.get("teacher", {}).get("type") == "none":
            return "no teacher"
        return _PRIVILEGES.get(self.facts.privilege, self.facts.privilege)

    @property
    def module(self) -> str:
        """Its cue recovery module in a few words."""
        if self.facts.cue_recovery is None:
            return "no"
        return f"yes, sink {self.facts.cue_recovery.get('sink', 'first')}"


def report_models(comparison: Comparison) -> list[ReportModel]:
    """Return the base, the chosen student, then the other students."""
    chosen = comparison.choice.method
    students: Sequence[str] = [chosen, *(m for m in comparison.students if m != chosen)]
    return [
        ReportModel("base", 0, comparison.base, chosen=False),
        *(
            ReportModel(name, number, comparison.students[name].model, chosen=name == chosen)
            for number, name in enumerate(students, start=1)
        ),
    ]
