"""Configuration of an ablation: arms that are trained on the same base and data with every seed, and the contrasts between them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.base import BaseModelConfig
from vicur.config.cells import Cell
from vicur.config.cluster import ClusterConfig
from vicur.config.cues import CuesConfig
from vicur.config.data import DataConfig, DigitScenesConfig
from vicur.config.evaluation import EvaluationConfig
from vicur.config.methods import MethodName
from vicur.config.prompted import PromptedConfig, require_not_handed_down
from vicur.config.run import RunName
from vicur.config.section import Section
from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainConfig, TrainingConfig
from vicur.config.validation import validated
from vicur.errors import VicurError

BASE = "base"
"""Names the base model as one side of a contrast."""
# Models are compared question by question, so all must answer the same questions in the same way.
_SAME_FOR_ALL = ("splits", "sets", "decoding", "max_examples")


class Arm(Section):
    """A way to train a student, or to evaluate the students of another arm."""

    name: RunName
    """Name of the arm."""
    about: str
    """Description in a few words."""
    method: MethodName | None = None
    """Method of its trainings."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Settings of the section ``training`` that replace the shared ones, each as a whole."""
    students_of: RunName | None = None
    """Arm whose students this one evaluates instead of training any."""
    evaluation: dict[str, Any] = Field(default_factory=dict)
    """Settings of the section ``evaluation`` that replace the shared ones, each as a whole."""
    paper: MethodName | None = None
    """Row of the paper's tables that it reproduces, if any."""

    @model_validator(mode="after")
    def _trains_or_evaluates(self) -> Self:
        if self.name == BASE:
            raise ValueError(f"an arm cannot be called {BASE!r}, which names the model that students start from")
        if (self.method is None) == (self.students_of is None):
            raise ValueError(f"arm {self.name} needs either method or students_of, but not both")
        require_not_handed_down("training", self.training)
        require_not_handed_down("evaluation", self.evaluation)
        if self.students_of is not None and self.training:
            raise ValueError(
                f"arm {self.name} evaluates the students of {self.students_of} and trains none: remove its training"
            )
        return self


class Contrast(Section):
    """A planned comparison."""

    question: str
    """Question that it answers."""
    first: str
    """An arm, or ``base``."""
    second: str
    """The arm, or ``base``, that ``first`` is compared with."""
    expected: Literal["better", "worse"] | None = None
    """Expected result of ``first`` against ``second``, if the paper or the logic of a control is right."""


class Analysis(Section):
    """Settings of the stage that summarizes an ablation."""

    arms: tuple[Arm, ...]
    """The arms, in the order of the table."""
    contrasts: tuple[Contrast, ...] = ()
    """Comparisons, in addition to that of each arm with the base."""
    resamples: int = Field(default=10_000, ge=1000)
    """Resamples of the paired bootstrap over seeds and scenes."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals."""


class AblationConfig(PromptedConfig):
    """Configuration of an ablation."""

    name: RunName = "ablation"
    """Name of the configuration, and prefix of its runs' names."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Root seed of what all cells share: dataset, cues, and the resamples of the intervals."""
    seeds: tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...] = (0, 1, 2, 3, 4)
    """Root seeds of the trainings. Each arm is trained with each of them."""
    arms: tuple[Arm, ...]
    """The arms, in the order of the table."""
    contrasts: tuple[Contrast, ...] = ()
    """Planned comparisons, in addition to that of each arm with the base."""
    base: BaseModelConfig = BaseModelConfig()
    """The model that students start from."""
    data: DataConfig = DigitScenesConfig()
    """Source of the dataset."""
    cues: CuesConfig = CuesConfig()
    """Source of the visual cues."""
    training: TrainingConfig = TrainingConfig()
    """Training settings that the arms share."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation of base and students."""
    resamples: int = Field(default=10_000, ge=1000)
    """Resamples of the paired bootstrap over seeds and scenes."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals."""
    tracking: TrackingConfig = TrackingConfig()
    """MLflow server and experiment of the run."""
    checkpoints: str = ""
    """Folder or S3 address that checkpoints are kept below. Empty keeps them on the machine that trains."""
    cluster: ClusterConfig = ClusterConfig()
    """Execution of the steps in a cluster. Local runs ignore it."""

    @field_validator("seeds")
    @classmethod
    def _are_unique(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds:
            raise ValueError("must have at least one seed")
        if len(set(seeds)) < len(seeds):
            raise ValueError("has the same seed twice")
        return seeds

    @model_validator(mode="after")
    def _arms_are_consistent(self) -> Self:
        if self.evaluation.benchmarks:
            raise ValueError(
                "evaluation.sets has benchmarks, which an ablation does not answer: remove them, and run them with vicur benchmarks"
            )
        if self.training.per_method:
            raise ValueError("training.per_method does not apply to an ablation: set training of the arm instead")
        trained = [arm.name for arm in self.arms if arm.method is not None]
        names = [arm.name for arm in self.arms]
        if not trained:
            raise ValueError("arms has no arm that is trained: give at least one a method")
        if len(set(names)) < len(names):
            raise ValueError("arms has two arms of the same name")
        for arm in self.arms:
            if arm.students_of is not None and arm.students_of not in trained:
                raise ValueError(
                    f"arm {arm.name} evaluates the students of {arm.students_of!r}, which is not an arm that trains any"
                )
        for contrast in self.contrasts:
            for side in (contrast.first, contrast.second):
                if side not in (*names, BASE):
                    raise ValueError(f"a contrast names {side!r}, which is neither an arm nor {BASE!r}")
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
        """Return one cell per arm and seed.

        Raises:
            VicurError: if the settings of an arm are wrong or do not go together.
        """
        # Seed by seed: an ablation that is stopped early has all arms of its first seeds. Cells that evaluate the student of another arm
        # come last, because they reuse it.
        training = [arm for arm in self.arms if arm.method is not None]
        evaluating = [arm for arm in self.arms if arm.method is None]
        return [self._cell(arm, seed) for part in (training, evaluating) for seed in self.seeds for arm in part]

    def _cell(self, arm: Arm, seed: int) -> Cell:
        trained = arm if arm.method is not None else next(a for a in self.arms if a.name == arm.students_of)
        where = f"arms, arm {arm.name}"
        settings = {**self.training.model_dump(), **trained.training, "method": trained.method}
        training: TrainConfig = validated(TrainConfig, settings, f"{where}, training")
        settings = {**self.evaluation.model_dump(), **arm.evaluation}
        evaluation: EvaluationConfig = validated(EvaluationConfig, settings, f"{where}, evaluation")
        for setting in _SAME_FOR_ALL:
            if getattr(evaluation, setting) != getattr(self.evaluation, setting):
                raise VicurError(
                    f"{setting} differs from that of the other arms, so they cannot be compared.",
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
    """Return the name of the cell of an arm and a seed."""
    return f"{arm}.{seed}"


def arm_and_seed(subject: str) -> tuple[str, int]:
    """Return arm and seed of the cell called ``subject``."""
    arm, _, seed = subject.rpartition(".")
    return arm, int(seed)
