"""The training stage on several nodes: the step makes a job, follows it and hands on what it made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from vicur.cluster.jobs.context import JobContext
from vicur.cluster.jobs.exchange import fetch_student, has_student, send_inputs
from vicur.cluster.jobs.launcher import run_job
from vicur.cluster.jobs.manifest import JobRequest
from vicur.cluster.jobs.names import job_name, labels
from vicur.cluster.jobs.task import VARIABLE, NodeTask
from vicur.cluster.trainable import require_common_place, require_trainable_on
from vicur.cluster.usage import GPU_HOURS, usage_of
from vicur.config.cluster import ClusterConfig
from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainConfig
from vicur.processes.signals import StopOnSigterm
from vicur.redaction import redacted
from vicur.stage.runner import CachedSummary, Context, Stage, stage_key
from vicur.stage.table import STAGES

# Where the step's servers are, and which MLflow run is its own: the nodes use the same.
_PASSED_ON = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)


def launch_training(
    config: TrainConfig,
    inputs: Mapping[str, Path],
    output: Path,
    context: Context,
    *,
    pool: ClusterConfig,
    tracking: TrackingConfig,
    checkpoints: str,
) -> CachedSummary:
    """Trains one student on several nodes.

    Args:
        config: method and settings.
        inputs: what the training stage reads.
        output: folder for the student.
        context: the stage's context.
        pool: the nodes.
        tracking: where the nodes track.
        checkpoints: address on S3 below which trainings keep their checkpoints.

    Raises:
        VicurError: for what cannot be trained, before any node is asked for; and where the job does not end well.
    """
    root = checkpoints.rstrip("/")
    require_common_place(root)
    _require_trainable(config, inputs, pool)
    site = JobContext.of(pool.image)
    work = stage_key(context.identity)
    place = f"{root}/{work}"
    collect = partial(fetch_student, place, output)
    with StopOnSigterm():
        sent = send_inputs(root, inputs, context.identity["inputs"], pool.jobs.shared_folders)
    label = context.events.stage
    task = NodeTask(
        label,
        config.model_dump(mode="json", exclude_none=True),
        context.seed,
        tracking.model_dump(mode="json"),
        context.identity,
        root,
        sent,
    )
    environment = {"VICUR_RUN_ID": context.run_id, VARIABLE: task.written()}
    request = JobRequest(
        name=job_name(context.run_id, label, work),
        namespace=site.api.namespace,
        labels=labels(context.run_id, label),
        work=work,
        image=site.image,
        environment={**_passed_on(os.environ), **environment},
        owner=site.owner,
    )
    summary = run_job(
        site.api,
        request,
        pool,
        collect,
        is_done=partial(has_student, place),
        tell=partial(context.events.emit, "progress"),
        print_line=partial(print, flush=True),
        ended=partial(_record_usage, context, pool),
    )
    return CachedSummary.model_validate(summary)


def _record_usage(context: Context, pool: ClusterConfig, pods: list[dict[str, Any]]) -> None:
    """For the exit step, which comes when the pods are gone. Each attempt adds what its own pods have used."""
    context.tracker.metrics({GPU_HOURS: usage_of(pods, pool, datetime.now(UTC)).gpu_hours})


@dataclass(frozen=True)
class LaunchedTraining:
    """The training stage, on several nodes: the same work under the same name, so the same result.

    Attributes:
        pool: the nodes.
        tracking: where they track.
        checkpoints: address on S3 below which trainings keep their checkpoints.
    """

    pool: ClusterConfig
    tracking: TrackingConfig
    checkpoints: str
    name: str = "train"
    summary: type[CachedSummary] = CachedSummary
    reusable: bool = True

    @property
    def code(self) -> str:
        """Version of the code behind the training."""
        return STAGES[self.name].reference.code

    def load(self) -> Stage[CachedSummary]:
        """The stage whose function launches the training."""
        launch = partial(launch_training, pool=self.pool, tracking=self.tracking, checkpoints=self.checkpoints)
        return Stage(self.name, launch, CachedSummary)


def _require_trainable(config: TrainConfig, inputs: Mapping[str, Path], pool: ClusterConfig) -> None:
    """What the nodes would find wrong is told before they are asked for: that may be many hours later.

    Raises:
        VicurError: for settings, a base or a teacher that cannot be trained with.
    """
    # Import torch.
    from vicur.modeling.chat import Chat
    from vicur.training.preflight import require_fit

    require_trainable_on(config, pool)
    require_fit(config, inputs, Chat.load(inputs["base"]))


def _passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What nodes are told of the step's environment. An address with a password in it stays here: a job can be read by many."""
    found = {name: environment[name] for name in _PASSED_ON if environment.get(name)}
    return {name: value for name, value in found.items() if redacted(value) == value}
