"""The packages ``distill`` and ``ablation``: parameters are whole sections of a configuration, and pods run wherever KFP puts them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent
from vicur_components.outcome.component import outcome
from vicur_components.preflight.sections import preflight
from vicur_pipelines.graph import add_graph, pipeline_with
from vicur_pipelines.tasks import EXIT, PREFLIGHT, configure_task

from vicur.stage.table import PipelineConfig
from vicur.steps.preflight_step import graph_parameters
from vicur.steps.sections import section_descriptions, sections_of

_configure = partial(configure_task, retries=2, backoff="30s")


def sections_pipeline(
    name: str, title: str, purpose: str, code_versions: Mapping[str, str], config: PipelineConfig
) -> GraphComponent:
    """Return the pipeline of a package whose parameters are the sections of ``config``, with its settings as defaults.

    The code versions are constants of the package, not fields of its form.
    """
    graph = _graph(config)
    defaults = sections_of(config)
    described = "\n".join(f"    {each}: {text}" for each, text in section_descriptions(config).items())

    def build(sections: Mapping[str, Any]) -> None:
        ended = _configure(outcome(tracking=sections["tracking"]), EXIT)
        with dsl.ExitHandler(ended, name="run"):
            checked = _configure(preflight(code_versions=dict(code_versions), **sections), PREFLIGHT)
            # A retry cannot mend wrong settings.
            checked.set_retry(0)
            graph(**{each: checked.outputs[each] for each in graph_parameters(config)})

    return pipeline_with(
        name,
        {each: type(value) for each, value in defaults.items()},
        build,
        display_name=title,
        defaults=defaults,
        documentation=f"{purpose}\n\nArgs:\n{described}\n",
    )


def _graph(config: PipelineConfig) -> GraphComponent:
    """Return the steps after preflight, as a pipeline in the pipeline.

    In local runs, KFP 2.17 mistakes the output of another step for the item of a loop if both are in the same pipeline.
    """

    def build(values: Mapping[str, Any]) -> None:
        add_graph(_configure, config, values)

    return pipeline_with("graph", graph_parameters(config), build)
