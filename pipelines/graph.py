"""The pipelines by name: for each its configuration, its graph, and what whoever runs and shows it must know. kfp is not imported here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vicur_pipelines.progress import ablation_steps, expected_steps

from vicur.config.ablation import AblationConfig
from vicur.config.run import RunConfig
from vicur.config.section import Section

if TYPE_CHECKING:
    from kfp.dsl.graph_component import GraphComponent


@dataclass(frozen=True)
class Graph:
    """A pipeline.

    Attributes:
        name: how commands and run folders call it.
        config: type of its configuration.
        build: makes its graph from the code versions of the stages, a configuration (of which the graph may hold what its parameters do
            not say) and, for a run on this machine, the settings of retries.
        arguments: the graph's arguments for a configuration, beside the defaults that the graph has.
        steps: labels of a run's steps, in the order in which a person reads them.
        result: the step whose files a person looks for, and their names, the first one first.
    """

    name: str
    config: type[Section]
    build: Callable[..., GraphComponent]
    arguments: Callable[[Any], dict[str, Any]]
    steps: Callable[[Any], list[str]]
    result: tuple[str, tuple[str, ...]]


def graph_of(config: Section) -> Graph:
    """The pipeline that a configuration is of."""
    return next(graph for graph in GRAPHS.values() if isinstance(config, graph.config))


def _distill(codes: Mapping[str, str], _config: Section | None, **settings: Any) -> GraphComponent:
    from vicur_pipelines.distill import distill_pipeline

    return distill_pipeline(codes, **settings)


def _cluster(codes: Mapping[str, str], config: Section | None) -> GraphComponent:
    from vicur_pipelines.cluster import cluster_pipeline

    return cluster_pipeline(codes, config if isinstance(config, RunConfig) else RunConfig(methods=("vicur",)))


def _ablation(codes: Mapping[str, str], _config: Section | None, **settings: Any) -> GraphComponent:
    from vicur_pipelines.ablation import ablation_pipeline

    return ablation_pipeline(codes, **settings)


def _arguments(config: RunConfig) -> dict[str, Any]:
    return {name: value for name, value in _values(config).items() if name not in ("name", "cluster")}


def _ablation_arguments(config: AblationConfig) -> dict[str, Any]:
    """Arms, seeds and what the cells share come to cells; what was decided on beforehand goes to the analysis."""
    values = _values(config)
    passed = {name: values[name] for name in ("seed", "data", "cues", "base", "evaluation", "tracking", "checkpoints")}
    analysis = config.analysis.model_dump(mode="json", exclude_none=True)
    cells = [cell.model_dump(mode="json", exclude_none=True) for cell in config.cells()]
    return {**passed, "analysis": analysis, "cells": cells}


def _values(config: Section) -> dict[str, Any]:
    """A configuration as KFP can pass it on. It has no word for ``None``: that is what a missing setting means."""
    values = config.model_dump(mode="json", exclude_none=True)
    if type(config).model_validate(values) != config:
        raise ValueError("a setting that is None has another default, and KFP cannot pass it on")
    return {name: values[name] for name in sorted(values)}


GRAPHS = {
    graph.name: graph
    for graph in (
        Graph("distill", RunConfig, _distill, _arguments, expected_steps, ("compare", ("report.html",))),
        Graph("cluster", RunConfig, _cluster, lambda _: {}, expected_steps, ("compare", ("report.html",))),
        Graph(
            "ablation",
            AblationConfig,
            _ablation,
            _ablation_arguments,
            ablation_steps,
            ("ablate", ("results.md", "results")),
        ),
    )
}
