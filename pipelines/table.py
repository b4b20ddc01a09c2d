"""The table of pipelines: the configuration, the package and the result of each. kfp is imported only to build one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vicur.config.ablation import AblationConfig
from vicur.config.compact import compact
from vicur.config.run import RunConfig
from vicur.config.section import Section

if TYPE_CHECKING:
    from kfp.dsl.graph_component import GraphComponent


@dataclass(frozen=True)
class Pipeline:
    """Declaration of a pipeline."""

    name: str  # in commands and run folders
    kfp_name: str  # of its package and of its local runs
    config: type[Section]
    # Builds the pipeline of the package from the code versions of the stages and a configuration, or None for the library's defaults.
    package: Callable[[Mapping[str, str], Any], GraphComponent]
    # Parameters of the package that a configuration sets.
    arguments: Callable[[Any], dict[str, Any]]
    # Label of the step with the results, and the names of its result files, the main one first.
    result: tuple[str, tuple[str, ...]]


def pipeline_of(config: Section) -> Pipeline:
    """Return the pipeline that ``vicur run`` and ``vicur ablate`` run for a configuration."""
    return next(pipeline for pipeline in PIPELINES.values() if isinstance(config, pipeline.config))


def _distill(code_versions: Mapping[str, str], _config: RunConfig | None) -> GraphComponent:
    from vicur_pipelines.sections import distill_pipeline

    return distill_pipeline(code_versions)


def _cluster(code_versions: Mapping[str, str], config: RunConfig | None) -> GraphComponent:
    from vicur_pipelines.cluster import cluster_pipeline

    return cluster_pipeline(code_versions, config or RunConfig(methods=("vicur",)))


def _ablation(code_versions: Mapping[str, str], _config: AblationConfig | None) -> GraphComponent:
    from vicur_pipelines.sections import ablation_pipeline

    return ablation_pipeline(code_versions)


_SHARED = ("seed", "data", "cues", "base", "training", "evaluation", "tracking", "checkpoints")


def _distill_arguments(config: RunConfig) -> dict[str, Any]:
    return _sections(config, (*_SHARED, "methods", "comparison", "registry"))


def _ablation_arguments(config: AblationConfig) -> dict[str, Any]:
    return {**_sections(config, (*_SHARED, "seeds")), "analysis": compact(config.analysis)}


def _sections(config: Section, names: tuple[str, ...]) -> dict[str, Any]:
    values = config.model_dump(mode="json", include=set(names))
    sections = {name: getattr(config, name) for name in sorted(names)}
    return {name: compact(each) if isinstance(each, Section) else values[name] for name, each in sections.items()}


PIPELINES = {
    pipeline.name: pipeline
    for pipeline in (
        Pipeline("distill", "vicur-distill", RunConfig, _distill, _distill_arguments, ("compare", ("report.html",))),
        Pipeline("cluster", "vicur-cluster", RunConfig, _cluster, lambda _: {}, ("compare", ("report.html",))),
        Pipeline(
            "ablation",
            "vicur-ablation",
            AblationConfig,
            _ablation,
            _ablation_arguments,
            ("ablate", ("results.md", "results")),
        ),
    )
}
