"""The configuration of a whole run: one section a stage, read from YAML with overrides from the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import Field, field_validator, model_validator

from vicur.config.address import S3_ADDRESS
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
from vicur.config.validation import validated
from vicur.errors import VicurError

S = TypeVar("S", bound=Section)
RunName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]


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
            raise ValueError("is neither a folder nor an address on S3, s3://bucket/prefix")
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


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a run's configuration, as :func:`load_settings` does."""
    return load_settings(RunConfig, path, overrides)


def load_settings(kind: type[S], path: Path | None, overrides: Sequence[str] = ()) -> S:
    """Reads a configuration.

    Args:
        kind: what it configures.
        path: a YAML file; ``None`` for the defaults.
        overrides: settings like ``training.steps=50``; values are read as YAML.

    Raises:
        VicurError: where the file cannot be read, or a setting is unknown or wrong.
    """
    values = read_overrides(overrides, _read(path) if path is not None else {})
    where = str(path) if path is not None else "the defaults"
    config: S = validated(kind, values, f"{where} with --set" if overrides else where)
    return config


def read_overrides(
    overrides: Sequence[str], values: dict[str, Any] | None = None, option: str = "--set"
) -> dict[str, Any]:
    """``values`` with settings like ``training.steps=50`` put in.

    Args:
        overrides: the settings.
        values: what they are put into; nothing where it is left out.
        option: the option of the command that they were given with.

    Raises:
        VicurError: where an override is not one.
    """
    values = {} if values is None else values
    for override in overrides:
        _override(values, override, f"{option} {override}")
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VicurError(
            f"cannot be read ({error.strerror}).", where=str(path), remedy="Name a configuration file, as in configs/."
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no text, dates that are none
        mark = getattr(error, "problem_mark", None)
        row = f": row {mark.line + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or type(error).__name__
        raise VicurError(f"is not YAML ({reason}).", where=f"{path}{row}", remedy="Correct it.") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise VicurError(
            "holds no settings.", where=str(path), remedy="Write sections as 'name: value', as in configs/local.yaml."
        )
    return values


def _override(values: dict[str, Any], override: str, where: str) -> None:
    name, separator, text = override.partition("=")
    *sections, field = name.strip().split(".")
    if not separator or not field or not all(sections):
        raise VicurError("is not a setting.", where=where, remedy="Write section.field=value, as in training.steps=50.")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise VicurError(
                f"{section} holds no settings of its own.",
                where=where,
                remedy="Write section.field=value, as in training.steps=50.",
            )
        values = inner
    try:
        values[field] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise VicurError("has a value that is not YAML.", where=where, remedy="Quote it.") from error
