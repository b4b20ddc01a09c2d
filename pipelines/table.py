"""The table of pipelines: the configuration, the package and the result of each. kfp is imported only to build one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vicur.config.ablation import AblationConfig
from vicur.config.run import RunConfig
from vicur.config.section import Section
from vicur.steps.sections import example_configs

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
    # Label of the step with the results, and the names of its result files, the main one first.
    result: tuple[str, tuple[str, ...]]


def pipeline_of(config: Section) -> Pipeline:
    """Return the pipeline that ``vicur run`` and ``vicur ablate`` run for a configuration."""
    return next(pipeline for pipeline in PIPELINES.values() if isinstance(config, pipeline.config))


def _cluster(code_versions: Mapping[str, str], config: RunConfig | None) -> GraphComponent:
    from vicur_pipelines.cluster import cluster_pipeline

    return cluster_pipeline(code_versions, config or RunConfig(methods=("vicur",)))


def _distill(code_versions: Mapping[str, str], config: RunConfig | None) -> GraphComponent:
    from vicur_pipelines.sections import sections_pipeline

    title = "ViCuR: distill a student with visual cues"
    purpose = (
        "Distil a vision-language student on policy with visual cues, evaluate it against its base and register it."
    )
    return sections_pipeline("vicur-distill", title, purpose, code_versions, config or example_configs()[0])


def _ablation(code_versions: Mapping[str, str], config: AblationConfig | None) -> GraphComponent:
    from vicur_pipelines.sections import sections_pipeline

    title = "ViCuR: arms by seeds"
    purpose = "Train and evaluate a student for each arm and seed, and summarize the differences between the arms."
    return sections_pipeline("vicur-ablation", title, purpose, code_versions, config or example_configs()[1])


PIPELINES = {
    pipeline.name: pipeline
    for pipeline in (
        Pipeline("distill", "vicur-distill", RunConfig, _distill, ("compare", ("report.html",))),
        Pipeline("cluster", "vicur-cluster", RunConfig, _cluster, ("compare", ("report.html",))),
        Pipeline("ablation", "vicur-ablation", AblationConfig, _ablation, ("ablate", ("results.md", "results"))),
    )
}
