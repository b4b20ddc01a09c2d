"""The package ``cluster``: a form of a few fields over a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp.dsl.graph_component import GraphComponent
from vicur_components.image import IMAGE
from vicur_components.preflight import component, with_benchmarks
from vicur_pipelines.packaged import PackagedPipeline, own_versions, with_sizes
from vicur_pipelines.pools import Placement, TaskResources

from vicur.cluster.request import Request, form_defaults, form_types
from vicur.config.compact import compact
from vicur.config.run import RunConfig
from vicur.steps.preflight_step import TRAINING_RESOURCES

NAME = "vicur-cluster"
_PURPOSE = (
    "Distil a vision-language student on policy with visual cues, evaluate it against its base and register it. The first step checks "
    "the form."
)


def cluster_pipeline(code_versions: Mapping[str, str], preset: RunConfig) -> GraphComponent:
    """Return the pipeline of the package.

    Args:
        code_versions: code version of each stage.
        preset: configuration of everything that the form leaves open, and the defaults of the form's fields.
    """
    preset = with_sizes(preset)
    check = with_benchmarks if preset.evaluation.benchmarks else component

    def place(form: Mapping[str, Any], checked: Mapping[str, Any] | None) -> Placement:
        training = None
        if checked is not None:
            made = {name.removeprefix("training_"): checked[name] for name in TRAINING_RESOURCES}
            training = TaskResources(**made)
        return Placement(
            form["image"], form["gpu_type"], form["gpu_node_selector"], form["gpu_tolerations"], training=training
        )

    return PackagedPipeline(
        name=NAME,
        title=f"ViCuR: {preset.name}",
        purpose=_PURPOSE,
        config=preset,
        types=form_types(),
        defaults=form_defaults(preset, image=preset.cluster.image or IMAGE),
        descriptions={name: str(field.description) for name, field in Request.model_fields.items()},
        place=place,
        check=lambda form: check.preflight(
            preset=compact(preset), code_versions=own_versions(preset, code_versions), **form
        ),
    ).build()
