"""Preflight, the first step of a run in a cluster: build the configuration, check it, and write the parameters of the later steps."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vicur.cluster.keys import cache_keys
from vicur.cluster.pods import in_cluster, own_namespace
from vicur.cluster.preflight import needs_of, run_preflight
from vicur.cluster.request import Request, resolved
from vicur.cluster.trainable import require_common_place, require_trainable_on
from vicur.config.ablation import AblationConfig
from vicur.config.model_address import MODELS_VARIABLE
from vicur.config.preflight import PreflightConfig
from vicur.config.run import RunConfig
from vicur.config.sizes import sized, step_size
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.processes.retrying import retried
from vicur.stage.events import Events
from vicur.stage.table import STEPS, PipelineConfig, steps_of
from vicur.steps.parameters import pipeline_parameters
from vicur.steps.sections import config_of
from vicur.steps.stage_step import begin, fail, step_policy
from vicur.weights import pinned, stage_teachers

LABEL = "preflight"
CELLS = "cells"
TRAINING_RESOURCES: Mapping[str, type] = {
    "training_gpus": str,
    "training_cpu": str,
    "training_cpu_limit": str,
    "training_memory": str,
    "training_selector": dict,
    "training_tolerations": list,
}
"""Outputs of preflight with the resources of the training step."""


def graph_parameters(config: PipelineConfig | None = None) -> dict[str, type]:
    """Return names and types of the parameters that preflight makes for the graph of ``config``, or for any graph."""
    steps = STEPS if config is None else steps_of(config)
    return {**{step.parameter: dict for step in steps}, CELLS: list}


def run_preflight_step(
    preset: Mapping[str, Any],
    code_versions: Mapping[str, str],
    form: Mapping[str, Any],
    outputs: Mapping[str, str],
    report: str,
) -> None:
    """Check a run that was started by a form, and write the parameters of its steps. Exit after one message if something is wrong.

    Args:
        preset: configuration that the package was compiled with.
        code_versions: code version of each stage.
        form: values of the form by field. Other entries are ignored.
        outputs: file of each output by name.
        report: file for the result of the checks, as Markdown.
    """

    def prepare() -> tuple[dict[str, Any], str]:
        fields = {name: form[name] for name in Request.model_fields if name in form}
        config = resolved(preset, validated(Request, fields, "the run's parameters"))
        _require_trainable(config)
        config = pinned(config, config.cluster.mounts)
        checks = run_preflight(_needs(config), config.tracking) if config.cluster.look else ""
        _stage_ahead(config)
        values = {**_parameters(config, code_versions), **training_resources(config)}
        return values, f"{_description(config)}\n\n{checks}"

    _write_outputs(prepare, outputs, report)


def run_sections_step(parameters: Mapping[str, Any], code_versions: Mapping[str, str], report: str) -> None:
    """Validate a run that was started with whole sections as parameters; otherwise as :func:`run_preflight_step`.

    ``parameters`` are the sections of a configuration (:mod:`vicur.steps.sections`) and the files of the outputs.
    """
    outputs = {name: parameters[name] for name in graph_parameters() if name in parameters}

    def prepare() -> tuple[dict[str, Any], str]:
        config = config_of(parameters)
        _require_installed(config)
        config = pinned(config, config.cluster.mounts)
        _stage_ahead(config)
        # KFP requires every output of a component, also those of the other pipeline's steps.
        return {**{name: {} for name in outputs}, **_parameters(config, code_versions)}, _description(config)

    _write_outputs(prepare, outputs, report)


def training_resources(config: RunConfig) -> dict[str, Any]:
    """Return the resources of the training step's pod, as in :data:`TRAINING_RESOURCES`."""
    pool = sized(config).cluster
    if pool.launches_job:
        # The training is a job on other nodes, and this pod only waits for it.
        size = step_size(pool, runs_model=False)
        values: tuple[Any, ...] = ("0", size.cpu, size.cpu_limit, size.memory, {}, [])
    else:
        size = step_size(pool, runs_model=True)
        selector, tolerations = dict(pool.node_selector), [taint.model_dump(mode="json") for taint in pool.tolerations]
        values = (str(pool.gpu_count), size.cpu, size.cpu_limit, size.memory, selector, tolerations)
    return dict(zip(TRAINING_RESOURCES, values, strict=True))


def _write_outputs(prepare: Callable[[], tuple[dict[str, Any], str]], outputs: Mapping[str, str], report: str) -> None:
    begin(LABEL)
    events = Events.from_environment(LABEL)
    events.emit("started")
    try:
        values, text = retried(prepare, step_policy(), partial(events.emit, "progress"))
    except VicurError as error:
        events.emit("failed", str(error), retryable=False)
        fail(error)
    for name, path in outputs.items():
        _write(Path(path), values[name])
    Path(report).write_text(text, encoding="utf-8")
    events.emit("finished", text.partition("\n")[0])


def _parameters(config: PipelineConfig, code_versions: Mapping[str, str]) -> dict[str, Any]:
    return pipeline_parameters(config, code_versions, cache_keys(config, code_versions))


def _stage_ahead(config: PipelineConfig) -> None:
    # Without the volume, a later step could not read what this one fetches.
    if os.environ.get(MODELS_VARIABLE):
        stage_teachers(config, Events.from_environment(LABEL))


def _require_trainable(config: RunConfig) -> None:
    # A training would find these problems hours later. It runs in the same image as this step.
    if config.cluster.launches_job:
        require_common_place(config.checkpoints)
    for cell in config.cells():
        require_trainable_on(cell.training, config.cluster)
    _require_installed(config)


def _require_installed(config: PipelineConfig) -> None:
    # Imports torch.
    from vicur.training.rollout.build import require_installed

    for cell in config.cells():
        require_installed(cell.training)


def _needs(config: RunConfig) -> PreflightConfig:
    needs = needs_of(config)
    # The platform decides on the namespace of the pods, not the configuration.
    return needs.model_copy(update={"namespace": own_namespace()}) if in_cluster() else needs


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # KFP reads a string as it is, and everything else as JSON.
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def _description(config: PipelineConfig) -> str:
    if isinstance(config, AblationConfig):
        return f"{len(config.arms)} arms with {len(config.seeds)} seeds from {config.base.path}"
    pool = config.cluster
    nodes = f"{pool.nodes} node{'s' if pool.nodes > 1 else ''} with {pool.gpu_count} {pool.gpu_type} each"
    return f"{', '.join(config.methods)} from {config.base.path}, trained on {nodes}"
