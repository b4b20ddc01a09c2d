"""The configuration of a whole run: one section a stage."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.address import S3_ADDRESS
from vicur.config.allowed import Form
from vicur.config.base import BaseModelConfig
from vicur.config.cells import Cell
from vicur.config.cluster import ClusterConfig
from vicur.config.comparison import ComparisonConfig
from vicur.config.cues import CuesConfig
from vicur.config.data import DataConfig, DigitScenesConfig
from vicur.config.evaluation import EvaluationConfig
from vicur.config.methods import MethodName
from vicur.config.registry import RegistryConfig
from vicur.config.section import Section
from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainingConfig

RunName = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$"),
    Form("a name of at most 41 lower-case letters, digits and dashes"),
]


class RunConfig(Section):
    """Everything that sets a run: each section goes to its stage, and to that stage's cache key, alone."""

    name: RunName = "local"
    """What runs of this configuration are called: lower-case letters, digits and dashes."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Root of everything random."""
    base: BaseModelConfig = BaseModelConfig()
    """The model that students start from."""
    methods: tuple[MethodName, ...] = ("opsd", "vicur")
    """Methods to train a student with, side by side; the best on validation goes to the registry."""
    data: DataConfig = DigitScenesConfig()
    """Where the dataset comes from."""
    cues: CuesConfig = CuesConfig()
    """What makes the visual cues."""
    training: TrainingConfig = TrainingConfig()
    """Distillation settings that all methods share."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How base and students are evaluated."""
    comparison: ComparisonConfig = ComparisonConfig()
    """How they are compared."""
    registry: RegistryConfig = RegistryConfig()
    """Registered model and gate."""
    tracking: TrackingConfig = TrackingConfig()
    """Where the run is tracked."""
    checkpoints: str = ""
    """Folder or address on S3 (``s3://bucket/prefix``) below which the checkpoints of trainings are kept, each training's by what it is:
    one that is started again on another machine goes on from there. Empty keeps them on the machine that trains."""
    cluster: ClusterConfig = ClusterConfig()
    """Where a cluster runs the steps; a run on this machine does not read it."""

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: tuple[MethodName, ...]) -> tuple[MethodName, ...]:
        if not methods:
            raise ValueError("names no method")
        if len(set(methods)) < len(methods):
            raise ValueError("names a method twice")
        return methods

    @field_validator("checkpoints")
    @classmethod
    def _on_s3_or_in_a_folder(cls, checkpoints: str) -> str:
        if "://" in checkpoints and not re.fullmatch(S3_ADDRESS, checkpoints):
            raise ValueError("is neither a folder nor an S3 address (s3://bucket/prefix)")
        return checkpoints

    @model_validator(mode="after")
    def _every_method_can_be_trained(self) -> Self:
        for name in self.methods:
            self.training.for_method(name)
        return self

    def cells(self) -> list[Cell]:
        """Return one cell per method.

        Raises:
            VicurError: if the settings of a method are wrong or do not go together.
        """
        return [
            Cell(
                subject=name,
                student=name,
                seed=self.seed,
                training=self.training.for_method(name),
                evaluation=self.evaluation,
            )
            for name in self.methods
        ]
