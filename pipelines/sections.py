"""The packages ``distill`` and ``ablation``: parameters are whole sections of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp.dsl.graph_component import GraphComponent
from vicur_components.image import IMAGE
from vicur_components.preflight.sections import preflight
from vicur_pipelines.packaged import PackagedPipeline, own_versions, with_sizes
from vicur_pipelines.pools import Placement, TaskResources

from vicur.config.compact import compact
from vicur.stage.table import PipelineConfig
from vicur.steps.preflight_step import training_resources
from vicur.steps.sections import section_descriptions, sections_of


def sections_pipeline(
    name: str, title: str, purpose: str, code_versions: Mapping[str, str], config: PipelineConfig
) -> GraphComponent:
    """Return the pipeline of a package whose parameters are the sections of ``config``, with its settings as defaults.

    The code versions and the section ``cluster`` are constants of the package, not fields of its form.
    """
    config = with_sizes(config)
    pool, defaults = config.cluster, sections_of(config)
    training = {name.removeprefix("training_"): each for name, each in training_resources(config).items()}
    taints = [taint.model_dump(mode="json", exclude_defaults=True) for taint in pool.tolerations]
    placement = Placement(
        pool.image or IMAGE, pool.gpu_type, dict(pool.node_selector), taints, training=TaskResources(**training)
    )

    def check(sections: Mapping[str, Any]) -> Any:
        return preflight(code_versions=own_versions(config, code_versions), cluster=compact(pool), **sections)

    return PackagedPipeline(
        name=name,
        title=title,
        purpose=purpose,
        config=config,
        types={each: type(value) for each, value in defaults.items()},
        defaults=defaults,
        descriptions=section_descriptions(config),
        place=lambda *_: placement,
        check=check,
    ).build()
