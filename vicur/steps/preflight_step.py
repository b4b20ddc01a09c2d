"""Preflight, the first step of a run in a cluster: build the configuration, check it, and write the parameters of the later steps."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
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
from vicur.config.sizes import sized, step_size
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.processes.retrying import retried
from vicur.stage.events import Events
from vicur.stage.table import BENCHMARK_STAGES, STAGES, STEPS, PipelineConfig, steps_of
from vicur.steps.parameters import CELLS, StepParameters, pipeline_parameters, tracking_of
from vicur.steps.sections import config_of
from vicur.steps.stage_step import begin, fail, step_policy
from vicur.weights import pinned, stage_teachers

log = logging.getLogger(__name__)

LABEL = "preflight"
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
    return {**{step.parameter: dict for step in steps if not step.cell_name}, CELLS: list}


def possible_parameters(kind: type[PipelineConfig]) -> dict[str, type]:
    """Return names and types of the parameters for every graph of a kind of configuration, with and without benchmarks."""
    steps = [
        step
        for step in STEPS
        if not step.cell_name and (hasattr(kind, step.section) or step.section in kind.model_fields)
    ]
    return {**{step.parameter: dict for step in steps}, CELLS: list}


def run_preflight_step(
    preset: Mapping[str, Any], code_versions: Mapping[str, str], parameters: Mapping[str, Any], report: str
) -> None:
    """Check a run that was started by a form, and write the parameters of its steps. Exit after one message if something is wrong.

    Args:
        preset: configuration that the package was compiled with.
        code_versions: code version of each stage.
        parameters: values of the form by field, and the file of each output by name.
        report: file for the result of the checks, as Markdown.
    """

    outputs = _outputs(parameters, (*graph_parameters(), *TRAINING_RESOURCES))

    def prepare() -> tuple[dict[str, Any], str]:
        fields = {name: parameters[name] for name in Request.model_fields if name in parameters}
        requested = resolved(preset, validated(Request, fields, "the run's parameters"))
        require_steps(requested, code_versions)
        config, text = _checked(requested)
        # KFP requires every output of a component, also those of steps that this package does not have.
        return {
            **{name: {} for name in outputs},
            **_parameters(config, code_versions),
            **training_resources(config),
        }, text

    _write_outputs(prepare, outputs, report)


def run_sections_step(parameters: Mapping[str, Any], code_versions: Mapping[str, str], report: str) -> None:
    """Validate a run that was started with whole sections as parameters; otherwise as :func:`run_preflight_step`.

    ``parameters`` are the sections of a configuration (:mod:`vicur.steps.sections`), that of the package for ``cluster``, and the files
    of the outputs.
    """
    outputs = _outputs(parameters, graph_parameters())

    def prepare() -> tuple[dict[str, Any], str]:
        tracking = tracking_of(StepParameters()).model_dump(exclude_none=True)
        config = config_of({**parameters, "tracking": tracking})
        require_steps(config, code_versions)
        config, text = _checked(config)
        # KFP requires every output of a component, also those of the other pipeline's steps.
        return {**{name: {} for name in outputs}, **_parameters(config, code_versions)}, text

    _write_outputs(prepare, outputs, report)


def _outputs(parameters: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    return {name: parameters[name] for name in names if name in parameters}


def training_resources(config: PipelineConfig) -> dict[str, Any]:
    """Return the resources of the training step's pod, as in :data:`TRAINING_RESOURCES`."""
    pool = sized(config).cluster
    if pool.launches_job:
        # The training is a job on other nodes, and this pod only waits for it.
        size = step_size(pool, runs_model=False)
        values: tuple[Any, ...] = ("0", size.cpu, size.cpu_limit, size.memory, {}, [])
    else:
        size = step_size(pool, runs_model=True)
        selector = dict(pool.node_selector)
        tolerations = [taint.model_dump(mode="json", exclude_defaults=True) for taint in pool.tolerations]
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
    # All steps run in the image of this one, so its code identifies their results.
    versions = {name: stage.reference.code for name, stage in STAGES.items()}
    # A package lacks the versions that could not be computed where it was compiled.
    other = [name for name, version in code_versions.items() if version not in ("", versions.get(name))]
    if other:
        log.warning("This image holds other code of %s than the package was compiled for.", ", ".join(other))
    return pipeline_parameters(config, cache_keys(config, versions))


def require_steps(config: PipelineConfig, code_versions: Mapping[str, str]) -> None:
    """Check that a package has the steps of the benchmarks if and only if its run has benchmarks.

    Args:
        code_versions: code version of each stage of the package.

    Raises:
        VicurError: if it does not.
    """
    wanted = any(step.stage in BENCHMARK_STAGES for step in steps_of(config))
    compiled = any(stage in BENCHMARK_STAGES for stage in code_versions)
    if wanted != compiled:
        has, lacks = ("names benchmarks", "without") if wanted else ("names no benchmark", "with")
        raise VicurError(
            f"{has}, but the package was compiled {lacks} their steps.",
            where="evaluation.sets",
            remedy="Compile a package from a configuration with the same benchmarks: vicur compile.",
        )


def _checked(config: PipelineConfig) -> tuple[PipelineConfig, str]:
    """Check a run. Return its configuration with pinned addresses, and a description with the results of the checks."""
    _require_trainable(config)
    config = pinned(config, config.cluster.mounts)
    checks = run_preflight(_needs(config), config.tracking) if config.cluster.look else ""
    _stage_ahead(config)
    return config, f"{_description(config)}\n\n{checks}"


def _stage_ahead(config: PipelineConfig) -> None:
    # Without the volume, a later step could not read what this one fetches.
    if os.environ.get(MODELS_VARIABLE):
        stage_teachers(config, Events.from_environment(LABEL))


def _require_trainable(config: PipelineConfig) -> None:
    # A training would find these problems hours later. It runs in the same image as this step.
    # Imports torch.
    from vicur.training.rollout.build import require_installed

    if config.cluster.launches_job:
        require_common_place(config.checkpoints)
    for cell in config.cells():
        require_trainable_on(cell.training, config.cluster)
        require_installed(cell.training, servers_here=not config.cluster.launches_job)


def _needs(config: PipelineConfig) -> PreflightConfig:
    needs = needs_of(config)
    # The platform decides on the namespace of the pods, not the configuration.
    return needs.model_copy(update={"namespace": own_namespace()}) if in_cluster() else needs


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # KFP reads a string as it is, and everything else as JSON.
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def _description(config: PipelineConfig) -> str:
    if isinstance(config, AblationConfig):
        students = f"{len(config.arms)} arms with {len(config.seeds)} seeds"
    else:
        students = ", ".join(config.methods)
    pool = config.cluster
    nodes = f"{pool.nodes} node{'s' if pool.nodes > 1 else ''} with {pool.gpu_count} {pool.gpu_type} each"
    return f"{students} from {config.base.path}, trained on {nodes}"
