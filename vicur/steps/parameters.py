"""Parameters of pipeline steps: each step takes its artifacts and one mapping ``step``, made here by preflight or by a local run."""

# Kubeflow Pipelines keys its cache on parameters, so the mapping of a step contains only what that step depends on: a change of the
# registry's settings must leave the training step cached.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from vicur.config.cells import Cell
from vicur.config.cluster import ClusterConfig
from vicur.config.compact import compact
from vicur.config.run import RunConfig
from vicur.config.section import Section
from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainingConfig
from vicur.config.validation import validated
from vicur.stage.table import PipelineConfig, PipelineStep, steps_of


class StepParameters(Section):
    """The parameter ``step`` of a pipeline step."""

    config: dict[str, Any] = Field(default_factory=dict)
    """Settings of the stage that differ from their defaults."""
    seed: int = 0
    """Root seed."""
    tracking: TrackingConfig = TrackingConfig()
    """MLflow server and experiment of the run."""
    subject: str = ""
    """Name of the model that the stage works on, if the pipeline runs the stage several times."""
    code_version: str = ""
    """Version of the stage's code when the package was compiled; empty if unknown."""
    cache_key: str = ""
    """Fingerprint of the inputs, so that the platform's cache notices when their content changes."""
    checkpoints: str = ""
    """Folder or S3 address that checkpoints are kept below; empty for none."""
    cluster: ClusterConfig = ClusterConfig()
    """Nodes of a training that runs as a TrainJob, which the step launches."""


class CellParameters(Section):
    """The parameter ``cell`` of a step that runs once per cell: what the cell changes in the shared ``step``."""

    subject: str
    """Name of the cell's model."""
    seed: int | None = None
    """Root seed of the cell, if it is not the shared one."""
    cache_key: str = ""
    config: dict[str, Any] = Field(default_factory=dict)
    """Settings that replace the shared ones, each as a whole."""
    unset: tuple[str, ...] = ()
    """Shared settings that have their default in this cell."""


def pipeline_parameters(
    config: PipelineConfig, code_versions: Mapping[str, str], cache_keys: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the parameters of the pipeline's graph: the ``step`` of each step, and the list ``cells``.

    ``code_versions`` are by stage, ``cache_keys`` by label of the step. A local run needs no keys, because its cache hashes the inputs.
    """
    keys = cache_keys or {}
    steps = steps_of(config)
    shared = {step.parameter: compact(_shared(step, config, code_versions, keys)) for step in steps}
    per_cell = [step for step in steps if step.cell_name]
    cells = [
        {step.name: compact(_of_cell(step, cell, config, shared, keys)) for step in per_cell} for cell in config.cells()
    ]
    return {**shared, "cells": cells}


def merged_parameters(step: Mapping[str, Any], cell: Mapping[str, Any] | None = None) -> StepParameters:
    """Return the parameters of one execution of a step: the shared ``step``, with the changes of its ``cell``.

    Raises:
        VicurError: if they are not valid.
    """
    shared: StepParameters = validated(StepParameters, dict(step), "step")
    if cell is None:
        return shared
    own: CellParameters = validated(CellParameters, dict(cell), "cell")
    unchanged = {name: value for name, value in shared.config.items() if name not in own.unset}
    changes = {
        "config": {**unchanged, **own.config},
        "subject": own.subject,
        "seed": shared.seed if own.seed is None else own.seed,
        "cache_key": own.cache_key or shared.cache_key,
    }
    return shared.model_copy(update=changes)


def _shared(
    step: PipelineStep, config: PipelineConfig, code_versions: Mapping[str, str], keys: Mapping[str, str]
) -> StepParameters:
    section = getattr(config, step.section)
    if isinstance(section, TrainingConfig):
        # Each cell has the settings of its method. Here, those of one method would invalidate the cached students of all.
        section = section.model_copy(update={"per_method": {}})
    # Nothing in this section affects a training that runs in the step's own pod.
    launches = step.cluster and isinstance(config, RunConfig) and config.cluster.launches_job
    return StepParameters(
        config=compact(section),
        seed=config.seed,
        tracking=config.tracking,
        subject=step.subject,
        code_version=code_versions[step.stage],
        cache_key="" if step.cell_name else keys.get(step.label(), ""),
        checkpoints=config.checkpoints if step.checkpoints else "",
        cluster=config.cluster if launches and isinstance(config, RunConfig) else ClusterConfig(),
    )


def _of_cell(
    step: PipelineStep, cell: Cell, config: PipelineConfig, shared: Mapping[str, Any], keys: Mapping[str, str]
) -> CellParameters:
    before, after = shared[step.parameter].get("config", {}), compact(getattr(cell, step.section))
    return CellParameters(
        subject=getattr(cell, str(step.cell_name)),
        seed=None if cell.seed == config.seed else cell.seed,
        cache_key=keys.get(step.label(cell), ""),
        config={name: value for name, value in after.items() if before.get(name) != value},
        # KFP cannot pass null in place of a shared setting.
        unset=tuple(name for name in before if name not in after),
    )
