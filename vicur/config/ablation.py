"""An ablation: arms, each trained from the same base on the same data with every seed, and what is to be compared."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.base import BaseModelConfig
from vicur.config.cells import Cell
from vicur.config.cues import CuesConfig
from vicur.config.data import DataConfig, DigitScenesConfig
from vicur.config.evaluation import EvaluationConfig
from vicur.config.methods import MethodName
from vicur.config.run import RunName
from vicur.config.section import Section
from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainConfig, TrainingConfig
from vicur.config.validation import validated
from vicur.errors import VicurError

BASE = "base"
"""The model that all students start from, as one side of a contrast."""
# Models are compared question by question.
_SAME_FOR_ALL = ("splits", "sets", "decoding", "max_examples")


class Arm(Section):
    """One way to make a student, or to evaluate those of another arm."""

    name: RunName
    """What it is called: lower-case letters, digits and dashes."""
    about: str
    """What sets it apart, in a few words."""
    method: MethodName | None = None
    """Method that its students are trained with."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Settings of the section ``training`` that replace the shared ones, each whole."""
    students_of: RunName | None = None
    """Arm whose students this one evaluates, in place of training its own."""
    evaluation: dict[str, Any] = Field(default_factory=dict)
    """Settings of the section ``evaluation`` that replace the shared ones, each whole."""
    paper: MethodName | None = None
    """Row of the paper's tables that it stands for, if any."""

    @model_validator(mode="after")
    def _trains_or_borrows(self) -> Self:
        if self.name == BASE:
            raise ValueError(f"an arm cannot be called {BASE!r}: that is the model that students start from")
        if (self.method is None) == (self.students_of is None):
            raise ValueError(f"arm {self.name} needs either a method or students_of, and not both")
        if self.students_of is not None and self.training:
            raise ValueError(
                f"arm {self.name} evaluates the students of {self.students_of} and trains none: drop its training"
            )
        return self


class Contrast(Section):
    """A comparison that was decided on beforehand."""

    question: str
    """What it asks."""
    first: str
    """An arm, or ``base``."""
    second: str
    """What it is compared with: an arm, or ``base``."""
    expected: Literal["better", "worse"] | None = None
    """How the first does against the second if the paper, or the logic of a control, holds."""


class Analysis(Section):
    """Settings of the stage that puts an ablation's evaluations together."""

    arms: tuple[Arm, ...]
    """The arms, in the order of the table."""
    contrasts: tuple[Contrast, ...] = ()
    """What is compared, beside each arm with the base."""
    resamples: int = Field(default=10_000, ge=1000)
    """Resamples of the paired bootstrap over seeds and scenes."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals."""


class AblationConfig(Section):
    """Everything that sets an ablation."""

    name: RunName = "ablation"
    """What runs of this configuration are called."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Root of what all cells share: dataset, cues, and the resamples of the intervals."""
    seeds: tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...] = (0, 1, 2, 3, 4)
    """Root seeds of the trainings: each arm is trained with each."""
    arms: tuple[Arm, ...]
    """What is compared."""
    contrasts: tuple[Contrast, ...] = ()
    """Comparisons that are decided on beforehand. Each arm is compared with the base anyway."""
    base: BaseModelConfig = BaseModelConfig()
    """The model that students start from."""
    data: DataConfig = DigitScenesConfig()
    """Where the dataset comes from."""
    cues: CuesConfig = CuesConfig()
    """What makes the visual cues."""
    training: TrainingConfig = TrainingConfig()
    """Settings that the arms share."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How base and students are evaluated."""
    resamples: int = Field(default=10_000, ge=1000)
    """Resamples of the paired bootstrap over seeds and scenes."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals."""
    tracking: TrackingConfig = TrackingConfig()
    """Where the run is tracked."""
    checkpoints: str = ""
    """Folder or address on S3 below which the checkpoints of trainings are kept; empty keeps them on the machine that trains."""

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds:
            raise ValueError("names no seed")
        if len(set(seeds)) < len(seeds):
            raise ValueError("names a seed twice")
        return seeds

    @model_validator(mode="after")
    def _arms_go_together(self) -> Self:
        if self.training.per_method:
            raise ValueError("training.per_method has no place in an ablation: give the arm a training of its own")
        trained = [arm.name for arm in self.arms if arm.method is not None]
        names = [arm.name for arm in self.arms]
        if not trained:
            raise ValueError("arms names none that is trained")
        if len(set(names)) < len(names):
            raise ValueError("arms names an arm twice")
        for arm in self.arms:
            if arm.students_of is not None and arm.students_of not in trained:
                raise ValueError(f"arm {arm.name} evaluates the students of {arm.students_of!r}, which trains none")
        for contrast in self.contrasts:
            for side in (contrast.first, contrast.second):
                if side not in (*names, BASE):
                    raise ValueError(f"a contrast names {side!r}, which is no arm")
            if contrast.first == contrast.second:
                raise ValueError(f"a contrast compares {contrast.first} with itself")
        self.cells()
        return self

    @property
    def analysis(self) -> Analysis:
        """Settings of the stage that summarizes the evaluations."""
        analysis = Analysis(
            arms=self.arms, contrasts=self.contrasts, resamples=self.resamples, confidence=self.confidence
        )
        # KFP cannot pass null, and an arm's settings are only shown by this stage.
        return Analysis.model_validate(analysis.model_dump(mode="json", exclude_none=True))

    def cells(self) -> list[Cell]:
        """The cells, seed by seed, so that one that is stopped early has all arms of its first seeds; those that borrow a student last,
        when it is there.

        Raises:
            VicurError: where the settings of an arm are wrong, or do not go together.
        """
        training = [arm for arm in self.arms if arm.method is not None]
        borrowing = [arm for arm in self.arms if arm.method is None]
        return [self._cell(arm, seed) for part in (training, borrowing) for seed in self.seeds for arm in part]

    def _cell(self, arm: Arm, seed: int) -> Cell:
        trained = arm if arm.method is not None else next(a for a in self.arms if a.name == arm.students_of)
        where = f"arms, arm {arm.name}"
        own = {**self.training.model_dump(), **trained.training, "method": trained.method}
        training: TrainConfig = validated(TrainConfig, own, f"{where}, training")
        asked = {**self.evaluation.model_dump(), **arm.evaluation}
        evaluation: EvaluationConfig = validated(EvaluationConfig, asked, f"{where}, evaluation")
        for setting in _SAME_FOR_ALL:
            if getattr(evaluation, setting) != getattr(self.evaluation, setting):
                raise VicurError(
                    f"{setting} differs from that of the other arms, which could then not be compared with it.",
                    where=f"{where}, evaluation",
                    remedy="Set it in the shared section evaluation.",
                )
        return Cell(
            subject=subject(arm.name, seed),
            student=subject(trained.name, seed),
            seed=seed,
            training=training,
            evaluation=evaluation,
        )


def subject(arm: str, seed: int) -> str:
    """What the cell of an arm and a seed is called."""
    return f"{arm}.{seed}"


def arm_and_seed(subject: str) -> tuple[str, int]:
    """Arm and seed of the cell that is called ``subject``."""
    arm, _, seed = subject.rpartition(".")
    return arm, int(seed)
