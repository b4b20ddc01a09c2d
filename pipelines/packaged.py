"""What all packages for a cluster share: preflight, the graph in pools of GPUs, and the exit step. They differ in their form.

Everything is in one pipeline, because each level of nesting costs a driver pod, ten seconds, and space in the workflow's status.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent
from vicur_components.outcome.component import outcome
from vicur_pipelines.graph import add_graph, pipeline_with
from vicur_pipelines.pools import ConfigurePoolTask, Placement
from vicur_pipelines.tasks import EXIT, PREFLIGHT

from vicur.config.compact import compact
from vicur.config.run import RunConfig
from vicur.config.sizes import ignored_sizes, sized
from vicur.errors import VicurError
from vicur.stage.table import BENCHMARK_STAGES, PipelineConfig, stages_of

C = TypeVar("C", bound=PipelineConfig)
log = logging.getLogger(__name__)


class Place(Protocol):
    """Returns the placement of pods, given the parameters of the form and, for the steps after preflight, its outputs."""

    def __call__(self, form: Mapping[str, Any], checked: Mapping[str, Any] | None, /) -> Placement: ...


@dataclass(frozen=True)
class PackagedPipeline:
    """The pipeline of a package."""

    name: str
    title: str
    purpose: str
    config: PipelineConfig
    # Of the form, by name.
    types: Mapping[str, type]
    defaults: Mapping[str, Any]
    descriptions: Mapping[str, str]
    place: Place
    # Adds the task of preflight, given the parameters of the form.
    check: Callable[[Mapping[str, Any]], dsl.PipelineTask]

    def build(self) -> GraphComponent:
        """Return the pipeline."""
        return pipeline_with(
            self.name,
            self.types,
            self._add_tasks,
            display_name=self.title,
            defaults=self.defaults,
            description=f"{self.purpose}\n\n{_table(self.descriptions)}",
        )

    def _add_tasks(self, form: Mapping[str, Any]) -> None:
        config, placement = self.config, self.place(form, None)
        configure = ConfigurePoolTask(config.cluster, placement, config.tracking)
        _require_harness_image(config)
        # The exit step prices GPU-hours, and reads nothing else of the section.
        prices = {name: value for name, value in compact(config.cluster).items() if name in ("prices", "currency")}
        pool = {"gpu_type": placement.gpu_type, "node_selector": placement.node_selector}
        ended = outcome(tracking=compact(config.tracking), cluster=prices, **pool)
        with dsl.ExitHandler(configure(ended, EXIT), name="run"):
            checked = configure(self.check(form), PREFLIGHT)
            # A retry cannot mend a wrong form.
            checked.set_retry(0)
            processes = config.benchmarks.processes if isinstance(config, RunConfig) else 1
            placed = ConfigurePoolTask(
                config.cluster, self.place(form, checked.outputs), config.tracking, processes=processes
            )
            add_graph(placed, config, checked.outputs, config.cluster.portions)


def with_sizes(config: C) -> C:
    """Return a configuration with the resources of all steps spelled out, and warn if it sets some that no step has."""
    if ignored := ignored_sizes(config.cluster):
        log.warning("%s has no effect with gpu_count %d.", ignored, config.cluster.gpu_count)
    return sized(config)


def _require_harness_image(config: PipelineConfig) -> None:
    if not isinstance(config, RunConfig) or config.cluster.benchmarks_image:
        return
    if config.benchmarks.needs_harness(config.evaluation):
        raise VicurError(
            "is empty, but the steps that score benchmarks need an image with their harness.",
            where="cluster.benchmarks_image",
            remedy="Build one (images/Containerfile.benchmarks, docs/images.md) and name it, or set benchmarks.judge.url=none.",
        )


def own_versions(config: PipelineConfig, code_versions: Mapping[str, str]) -> dict[str, str]:
    """Return the code versions without those of benchmarks if a package has no steps for them, as preflight then knows."""
    own = stages_of(config)
    return {name: each for name, each in code_versions.items() if name in own or name not in BENCHMARK_STAGES}


def _table(descriptions: Mapping[str, str]) -> str:
    # KFP's form shows names and types only; the description of a pipeline is on its page.
    rows = [
        f"| `{name}` | {' '.join(text.replace('``', '`').split())} |" for name, text in sorted(descriptions.items())
    ]
    return "\n".join(["| parameter | meaning |", "|---|---|", *rows])
