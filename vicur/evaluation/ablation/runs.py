"""Load the evaluations and training curves of an ablation: one per arm and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vicur.config.ablation import BASE, Arm, arm_and_seed, subject
from vicur.errors import VicurError
from vicur.evaluation.comparison import Evaluation, require_same_terms
from vicur.evaluation.report.curves import History, read_history
from vicur.evaluation.training_record import training_record
from vicur.wording import listed

_STUDENT = ".student"


@dataclass(frozen=True, eq=False)
class ArmRuns:
    """Evaluations and training curves of one arm, by seed. An arm that trains no student has no curves."""

    arm: Arm
    evaluations: dict[int, Evaluation]
    histories: dict[int, History] = field(default_factory=dict)

    def correct(self, split: str) -> NDArray[np.bool_]:
        """Return whether each student answers each question correctly [S, N], seeds ascending."""
        rows = [[p.correct for p in self.evaluations[seed].predictions[split]] for seed in sorted(self.evaluations)]
        return np.array(rows, dtype=bool)


@dataclass(frozen=True, eq=False)
class AblationRuns:
    """Runs of all arms by name, and the evaluation of the base. All arms have the same seeds, in ascending order."""

    base: Evaluation
    arms: dict[str, ArmRuns]
    seeds: tuple[int, ...]

    def correct(self, name: str, split: str) -> NDArray[np.bool_]:
        """Return whether the models of an arm answer each question correctly [S, N]; one row for the base."""
        if name == BASE:
            return np.array([[p.correct for p in self.base.predictions[split]]], dtype=bool)
        return self.arms[name].correct(split)

    def groups(self, split: str) -> list[str]:
        # All models answered the same questions, so the groups of the base are those of every model.
        return [p.group for p in self.base.predictions[split]]


def load_runs(arms: Sequence[Arm], inputs: Mapping[str, Path]) -> AblationRuns:
    """Load all runs from the inputs of the ablation stage.

    Raises:
        VicurError: if an evaluation is missing, or cannot be compared with that of the base.
    """
    base = Evaluation.load(inputs[BASE])
    cells = [name for name in inputs if name != BASE and not name.endswith(_STUDENT)]
    seeds = tuple(sorted({arm_and_seed(cell)[1] for cell in cells}))
    missing = [subject(arm.name, seed) for arm in arms for seed in seeds if subject(arm.name, seed) not in inputs]
    if missing or not seeds:
        raise VicurError(
            f"there is no evaluation of {listed(missing) or 'any arm'}.",
            where="ablate",
            remedy="Run the same command again; finished cells are reused.",
        )
    runs = {}
    for arm in arms:
        evaluations = {seed: Evaluation.load(inputs[subject(arm.name, seed)]) for seed in seeds}
        for seed, evaluation in evaluations.items():
            require_same_terms(base, evaluation, subject(arm.name, seed))
        # Arms that evaluate the students of another arm train none.
        trained = seeds if arm.students_of is None else ()
        folders = {seed: _record(inputs, subject(arm.name, seed)) for seed in trained}
        histories = {seed: read_history(folder) for seed, folder in folders.items() if folder is not None}
        runs[arm.name] = ArmRuns(arm, evaluations, histories)
    return AblationRuns(base, runs, seeds)


def _record(inputs: Mapping[str, Path], cell: str) -> Path | None:
    return inputs.get(f"{cell}{_STUDENT}") or training_record(inputs[cell])
