"""The package of ``vicur submit --gpu-check``: one step that checks a node of the GPU pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp.dsl.graph_component import GraphComponent
from vicur_components.gpu_check.component import gpu_check
from vicur_components.image import IMAGE
from vicur_pipelines.graph import pipeline_with
from vicur_pipelines.pools import ConfigurePoolTask, Placement, TaskResources

from vicur.config.gpu_check import SECONDS
from vicur.config.run import RunConfig
from vicur.config.sizes import step_size
from vicur.stage.table import Needs

NAME = "vicur-gpu-check"
_PURPOSE = "Check in nine minutes whether a node trains correctly, and measure how fast. Nothing is downloaded."
_FORM: Mapping[str, tuple[type, Any]] = {"shapes": (list, []), "only": (list, []), "seconds": (float, SECONDS)}


def gpu_check_pipeline(config: RunConfig) -> GraphComponent:
    """Return the pipeline, with the GPUs, the image and the place of a training of ``config`` on one node."""
    # The check itself is not a job, whatever trainings are.
    pool = config.cluster.model_copy(
        update={"nodes": 1, "jobs": config.cluster.jobs.model_copy(update={"always": False})}
    )
    size, selector = step_size(pool, runs_model=True), dict(pool.node_selector)
    taints = [taint.model_dump(mode="json", exclude_defaults=True) for taint in pool.tolerations]
    resources = TaskResources(size.cpu, size.memory, size.cpu_limit, str(pool.gpu_count), selector, taints)
    placement = Placement(pool.image or IMAGE, pool.gpu_type, selector, taints, training=resources)
    configure = ConfigurePoolTask(pool, placement, config.tracking)

    def build(form: Mapping[str, Any]) -> None:
        configure(gpu_check(**form), Needs(gpus="training", tracking=False, cached=False))

    return pipeline_with(
        NAME,
        {name: kind for name, (kind, _) in _FORM.items()},
        build,
        display_name="ViCuR: check of a GPU node",
        defaults={name: default for name, (_, default) in _FORM.items()},
        description=_PURPOSE,
    )
