"""Configurations as whole sections: the parameters of the packages ``distill`` and ``ablation``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vicur.config.ablation import AblationConfig, Analysis, Arm
from vicur.config.compact import compact
from vicur.config.prompted import as_written
from vicur.config.run import RunConfig
from vicur.config.section import Section
from vicur.config.validation import validated
from vicur.stage.table import PipelineConfig

# Fixed in the package: pods, and where the exit step reports even if preflight fails.
_FIXED = {"cluster", "tracking"}
_LEFT_OUT = {"name", *_FIXED}


def example_configs() -> tuple[RunConfig, AblationConfig]:
    """Return a configuration of each kind, with the defaults of its package."""
    return RunConfig(methods=("vicur",)), AblationConfig(arms=(Arm(name="a", about="an arm", method="vicur"),))


def sections_of(config: PipelineConfig) -> dict[str, Any]:
    """Return the sections and other settings of a configuration by name, without settings that have their default."""
    grouped = set(Analysis.model_fields) if isinstance(config, AblationConfig) else set()
    names = [name for name in type(config).model_fields if name not in _LEFT_OUT | grouped]
    plain = config.model_dump(mode="json", include=set(names))
    sections = {name: getattr(config, name) for name in names}
    if isinstance(config, AblationConfig):
        sections["analysis"] = config.analysis
    return {
        name: compact(as_written(each)) if isinstance(each, Section) else plain[name]
        for name, each in sorted(sections.items())
    }


def config_of(sections: Mapping[str, Any]) -> PipelineConfig:
    """Return the configuration with these sections, including those that the package fixes: of an ablation if ``analysis`` is not empty.

    Other entries are ignored.

    Raises:
        VicurError: if a setting is wrong.
    """
    analysis = sections.get("analysis") or {}
    kind: type[PipelineConfig] = AblationConfig if analysis else RunConfig
    known = {name: value for name, value in sections.items() if name in set(kind.model_fields) - {"name"}}
    config: PipelineConfig = validated(kind, {**known, **analysis}, "the run's parameters")
    return config


def section_types() -> dict[str, type]:
    """Return the type of each section of either kind, as Kubeflow Pipelines passes it."""
    return {name: type(value) for config in example_configs() for name, value in sections_of(config).items()}


def section_descriptions(config: PipelineConfig) -> dict[str, str]:
    """Return one line about each section of a configuration: the description of its field."""
    fields = type(config).model_fields
    described = {name: fields[name].description if name in fields else Analysis.__doc__ for name in sections_of(config)}
    return {name: " ".join(str(text).replace("``", "`").split()) for name, text in described.items()}
