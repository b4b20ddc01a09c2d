"""Configuration of a run, with one section per stage."""

from __future__ import annotations

import re
from typing import Annotated, Self

import yaml
from pydantic import Field, field_validator, model_validator

from vicur.config.address import S3_ADDRESS
from vicur.config.allowed import Form
from vicur.config.base import BaseModelConfig
from vicur.config.benchmarks import AnswersConfig, BenchmarksConfig, ScoresConfig
from vicur.config.cells import Cell
from vicur.config.cluster import ClusterConfig
from vicur.config.compact import changed
from vicur.config.comparison import ComparisonConfig
from vicur.config.cues import CuesConfig
from vicur.config.data import DataConfig, DigitScenesConfig
from vicur.config.evaluation import EvaluationConfig
from vicur.config.methods import MethodName
from vicur.config.prompted import RUN, PromptedConfig, as_written
from vicur.config.registry import RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainingConfig

# What a version was made with is recorded with it. Students record the settings of their training themselves.
_RECORDED = ("base", "benchmarks", "cues", "data", "evaluation")

RunName = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$"),
    Form("a name of at most 41 lower-case letters, digits and dashes"),
]


class RunConfig(PromptedConfig):
    """Configuration of a run. Each section affects only its own stage, and the cache key of that stage."""

    name: RunName = "local"
    """Name of the configuration, and prefix of its runs' names."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Root seed of all random draws."""
    base: BaseModelConfig = BaseModelConfig()
    """The model that students start from."""
    methods: tuple[MethodName, ...] = ("opsd", "vicur")
    """Methods to train a student with, side by side: ``opsd``, ``opsd-cue``, ``opsd-recovery``, ``vicur``, ``opd``, ``opd-vicur``,
    ``grpo``, ``sft``. The best on validation is registered."""
    data: DataConfig = DigitScenesConfig()
    """Source of the dataset."""
    cues: CuesConfig = CuesConfig()
    """Source of the visual cues."""
    training: TrainingConfig = TrainingConfig()
    """Training settings that all methods share."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation of base and students."""
    benchmarks: BenchmarksConfig = BenchmarksConfig()
    """Answers and scores of the paper's benchmarks, if ``evaluation.sets`` names any."""
    comparison: ComparisonConfig = ComparisonConfig()
    """Comparison of the students with their base."""
    registry: RegistryConfig = RegistryConfig()
    """Registered model and gate."""
    tracking: TrackingConfig = TrackingConfig()
    """MLflow server and experiment of the run."""
    checkpoints: str = ""
    """Folder or S3 address (``s3://bucket/prefix``) that checkpoints are kept below, so that a training resumes on another machine. Empty
    keeps them on the machine that trains."""
    cluster: ClusterConfig = ClusterConfig()
    """Execution of the steps in a cluster. Local runs ignore it."""

    @field_validator("methods")
    @classmethod
    def _are_unique(cls, methods: tuple[MethodName, ...]) -> tuple[MethodName, ...]:
        if not methods:
            raise ValueError("must name at least one method")
        if len(set(methods)) < len(methods):
            raise ValueError(f"names {_first_repeated(methods)!r} twice")
        return methods

    @field_validator("checkpoints")
    @classmethod
    def _is_folder_or_s3(cls, checkpoints: str) -> str:
        if "://" in checkpoints and not re.fullmatch(S3_ADDRESS, checkpoints):
            raise ValueError("is neither a folder nor an S3 address (s3://bucket/prefix)")
        return checkpoints

    @model_validator(mode="after")
    def _every_method_can_be_trained(self) -> Self:
        for name in self.methods:
            self.training.for_method(name)
        return self

    @model_validator(mode="after")
    def _benchmarks_can_be_scored(self) -> Self:
        self.benchmarks.require_scorable(self.evaluation)
        return self

    @model_validator(mode="after")
    def _registration_records_the_run(self) -> Self:
        # The settings of prompts are in the records of the training and the evaluation.
        sections = {name: changed(as_written(getattr(self, name))) for name in _RECORDED}
        sections["data"] = changed(self.data.source())
        recorded = {name: settings for name, settings in sections.items() if settings}
        # The parameter of a step is escaped several times, and YAML needs fewer quotes than JSON.
        text = yaml.safe_dump(recorded, default_flow_style=True, width=float("inf")).strip() if recorded else ""
        self.__dict__["registry"] = self.registry.model_copy(update={RUN: text})
        return self

    @model_validator(mode="after")
    def _limits_are_measured(self) -> Self:
        for name in self.registry.gate.limits:
            if setting := self.evaluation.needed_for(name):
                raise ValueError(
                    f"registry.gate.limits has a limit on {name}, which this run does not measure, so no student could pass: set {setting}"
                )
        return self

    @property
    def benchmark_answers(self) -> AnswersConfig | None:
        """Settings of the base's answers to the benchmarks; ``None`` without benchmarks."""
        return self.benchmarks.answers(self.evaluation)

    @property
    def benchmark_scores(self) -> ScoresConfig | None:
        """Settings of the base's scores; ``None`` without benchmarks."""
        return self.benchmarks.scores(self.evaluation)

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
                benchmark_answers=self.benchmark_answers,
                benchmark_scores=self.benchmark_scores,
            )
            for name in self.methods
        ]


def _first_repeated(names: tuple[str, ...]) -> str:
    return next(name for name in names if names.count(name) > 1)
