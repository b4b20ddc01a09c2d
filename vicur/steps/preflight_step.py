"""The first step of a run in a cluster: its configuration out of preset and form, the checks, and what the later steps take from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vicur.cluster.keys import step_keys
from vicur.cluster.pods import in_cluster, own_namespace
from vicur.cluster.preflight import needs_of, run_preflight
from vicur.cluster.request import Request, resolved
from vicur.cluster.trainable import require_common_place, require_trainable_on
from vicur.config.preflight import PreflightConfig
from vicur.config.run import STEP_SECTIONS, RunConfig
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.steps.stage_step import fail, log_to_own_file

LABEL = "preflight"


def first_step(
    preset: Mapping[str, Any],
    codes: Mapping[str, str],
    form: Mapping[str, Any],
    outputs: Mapping[str, str],
    report: str,
) -> None:
    """Writes the step's outputs, each to the file that the platform reads it from.

    Args:
        preset: configuration of the package, as JSON.
        codes: code version of each stage.
        form: the fields of the form by name.
        outputs: the file of each output by name.
        report: file for what was checked, as Markdown.

    Exits the process, after one message, where something is wrong: nothing was started by then.
    """
    log_to_own_file(LABEL)
    events = Events.from_environment(LABEL)
    events.emit("started")
    try:
        config = resolved(preset, validated(Request, dict(form), "the run's parameters"))
        _require_trainable(config)
        found = run_preflight(_needs(config), config.tracking) if config.cluster.look else ""
        values = passed_on(config, codes)
        for name, path in outputs.items():
            _write(Path(path), values[name])
        Path(report).write_text(f"{_described(config)}\n\n{found}", encoding="utf-8")
    except VicurError as error:
        events.emit("failed", str(error), retryable=False)
        fail(error)
    events.emit("finished", _described(config))


def _require_trainable(config: RunConfig) -> None:
    """What a training would find wrong with the settings, or with the image, which is this step's too, is told here, hours before it."""
    # Imports torch.
    from vicur.training.rollout.build import require_installed

    if config.cluster.nodes > 1:
        require_common_place(config.checkpoints)
    for method in config.methods:
        training = config.training.for_method(method)
        require_trainable_on(training, config.cluster)
        require_installed(training)


def _needs(config: RunConfig) -> PreflightConfig:
    """What the run needs, in the namespace where its steps are: that is for the platform to say."""
    needs = needs_of(config)
    return needs.model_copy(update={"namespace": own_namespace()}) if in_cluster() else needs


def passed_on(config: RunConfig, codes: Mapping[str, str]) -> dict[str, Any]:
    """What later steps take, by the name of the output."""
    values = config.model_dump(mode="json", exclude_none=True)
    pool = config.cluster
    keys = {f"{name}_key": key for name, key in step_keys(config, codes).items()}
    return {
        **{name: values[name] for name in STEP_SECTIONS},
        **keys,
        "chosen_methods": values["methods"],
        "root_seed": config.seed,
        "checkpoints": config.checkpoints,
        # A training of several nodes is a job of its own, and the step that waits for it needs no place in the pool.
        "step_gpus": str(pool.gpu_count if pool.nodes == 1 else 0),
        "step_cpu": (pool.gpu_steps if pool.nodes == 1 else pool.steps).cpu,
        "step_memory": (pool.gpu_steps if pool.nodes == 1 else pool.steps).memory,
        "step_selector": values["cluster"]["node_selector"] if pool.nodes == 1 else {},
        "step_tolerations": values["cluster"]["tolerations"] if pool.nodes == 1 else [],
    }


def _write(path: Path, value: Any) -> None:
    """As the platform reads it: texts as they are, all else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def _described(config: RunConfig) -> str:
    pool = config.cluster
    where = f"{pool.nodes} node{'s' if pool.nodes > 1 else ''} with {pool.gpu_count} {pool.gpu_type} each"
    return f"{', '.join(config.methods)} from {config.base.path}, trained on {where}"
