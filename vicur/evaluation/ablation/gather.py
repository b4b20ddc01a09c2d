"""Puts the cells of an ablation side by side: the evaluations and trainings of each arm, seed by seed."""

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

_STUDENT = ".student"


@dataclass(frozen=True, eq=False)
class GatheredArm:
    """One arm.

    Attributes:
        arm: its settings.
        evaluations: of its students, by seed.
        histories: their trainings, by seed; empty for an arm that trains none.
    """

    arm: Arm
    evaluations: dict[int, Evaluation]
    histories: dict[int, History] = field(default_factory=dict)

    def correct(self, split: str) -> NDArray[np.bool_]:
        """Whether each student answers each question [S, N], seeds ascending."""
        rows = [[p.correct for p in self.evaluations[seed].predictions[split]] for seed in sorted(self.evaluations)]
        return np.array(rows, dtype=bool)


@dataclass(frozen=True, eq=False)
class Gathered:
    """All of an ablation.

    Attributes:
        base: evaluation of the model that all students started from.
        arms: by name.
        seeds: of every arm, ascending.
    """

    base: Evaluation
    arms: dict[str, GatheredArm]
    seeds: tuple[int, ...]

    def correct(self, name: str, split: str) -> NDArray[np.bool_]:
        """Whether the models of an arm answer each question [S, N]; of the base, one row."""
        if name == BASE:
            return np.array([[p.correct for p in self.base.predictions[split]]], dtype=bool)
        return self.arms[name].correct(split)

    def groups(self, split: str) -> list[str]:
        """The scene of each question."""
        return [p.group for p in self.base.predictions[split]]


def gather(arms: Sequence[Arm], inputs: Mapping[str, Path]) -> Gathered:
    """Reads the cells.

    Args:
        arms: the arms that are expected.
        inputs: ``base`` (its evaluation), ``<arm>.<seed>`` (an evaluation) and ``<arm>.<seed>.student`` (a student's folder, for its
            training curves).

    Raises:
        VicurError: where a cell is missing, or was evaluated on other terms than the base.
    """
    base = Evaluation.load(inputs[BASE])
    cells = [name for name in inputs if name != BASE and not name.endswith(_STUDENT)]
    seeds = tuple(sorted({arm_and_seed(cell)[1] for cell in cells}))
    missing = [subject(arm.name, seed) for arm in arms for seed in seeds if subject(arm.name, seed) not in inputs]
    if missing or not seeds:
        raise VicurError(
            f"there is no evaluation of {', '.join(missing) or 'any cell'}.",
            where="ablate",
            remedy="Give the same command again: finished cells are reused.",
        )
    gathered = {}
    for arm in arms:
        evaluations = {seed: Evaluation.load(inputs[subject(arm.name, seed)]) for seed in seeds}
        for seed, evaluation in evaluations.items():
            require_same_terms(base, evaluation, subject(arm.name, seed))
        folders = {seed: inputs.get(subject(arm.name, seed) + _STUDENT) for seed in seeds}
        histories = {seed: read_history(folder) for seed, folder in folders.items() if folder is not None}
        gathered[arm.name] = GatheredArm(arm, evaluations, histories)
    return Gathered(base, gathered, seeds)
