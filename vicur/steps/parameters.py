"""Parameters of pipeline steps: each step takes its artifacts and one mapping ``step``, made here by preflight or by a local run."""

# Kubeflow Pipelines keys its cache on parameters, so the mapping of a step contains only what that step depends on: a change of the
# registry's settings must leave the training step cached.

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from vicur.config.cells import Cell
from vicur.config.cluster import ClusterConfig
from vicur.config.compact import compact
from vicur.config.data import SourceConfig
from vicur.config.evaluation import EvaluationConfig
from vicur.config.prompted import READER
from vicur.config.section import Section
from vicur.config.tracking import TrackingConfig
from vicur.config.validation import validated
from vicur.stage.table import PipelineConfig, PipelineStep, steps_of


class StepParameters(Section):
    """The parameter ``step`` of a pipeline step."""

    config: dict[str, Any] = Field(default_factory=dict)
    """Settings of the stage that differ from their defaults."""
    seed: int = 0
    """Root seed."""
    tracking: TrackingConfig = TrackingConfig()
    """MLflow server and experiment of a local run. Steps in a cluster read them from ``VICUR_TRACKING``."""
    subject: str = ""
    """Name of the model that the stage works on, if the pipeline runs the stage several times."""
    cache_key: str = ""
    """Fingerprint of inputs and code, so that the platform's cache notices when their content changes."""
    checkpoints: str = ""
    """Folder or S3 address that checkpoints are kept below; empty for none."""
    cluster: ClusterConfig = ClusterConfig()
    """Nodes of a training that runs as a TrainJob, which the step launches."""


CELLS = "cells"
"""Parameter of the graph with a list of the parameters of the steps in the loop, by cell."""
TRACKING = "VICUR_TRACKING"
"""Variable with the section ``tracking`` as JSON. As a parameter, a new address of MLflow would invalidate every cached step."""


def tracking_of(step: StepParameters) -> TrackingConfig:
    """Return the tracking settings of a step: those of its environment, or else its own."""
    text = os.environ.get(TRACKING)
    if not text:
        return step.tracking
    config: TrackingConfig = validated(TrackingConfig, json.loads(text), TRACKING)
    return config


def pipeline_parameters(config: PipelineConfig, cache_keys: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the parameters of the pipeline's graph: the ``step`` of each step, and the list ``cells`` with those of the steps in the loop.

    ``cache_keys`` are by label of the step. A local run needs none, because its cache hashes the inputs.
    """
    keys, steps, local = cache_keys or {}, steps_of(config), cache_keys is None

    def of(step: PipelineStep, cell: Cell | None) -> dict[str, Any]:
        parameters = _parameters(step, cell, config, keys.get(step.label(cell), ""))
        return compact(parameters.model_copy(update={"tracking": config.tracking}) if local else parameters)

    cells = [{step.name: of(step, cell) for step in steps if step.cell_name} for cell in config.cells()]
    return {**{step.parameter: of(step, None) for step in steps if not step.cell_name}, CELLS: cells}


def _parameters(step: PipelineStep, cell: Cell | None, config: PipelineConfig, cache_key: str) -> StepParameters:
    section = getattr(config if cell is None else cell, step.section)
    if isinstance(section, SourceConfig):
        section = section.source()
    if isinstance(section, EvaluationConfig):
        section = section.held_out()
    if cache_key and READER in type(section).model_fields:
        # The step does not see the base, which preflight checks for folders and the training for all. A new method must not make the
        # platform pay for the cues again.
        section = section.model_copy(update={READER: None})
    # A training on one node runs in the step's own pod, and nothing else in this section affects it.
    launches = step.cluster and config.cluster.launches_job
    return StepParameters(
        config=compact(section),
        seed=config.seed if cell is None else cell.seed,
        subject=step.subject if cell is None else getattr(cell, str(step.cell_name)),
        cache_key=cache_key,
        checkpoints=config.checkpoints if step.checkpoints else "",
        cluster=config.cluster if launches else ClusterConfig(),
    )
