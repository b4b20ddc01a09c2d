"""The training stage as a TrainJob: the step creates a TrainJob, follows it and returns the student that it made."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from vicur.cluster.jobs.context import JobContext
from vicur.cluster.jobs.launcher import run_job
from vicur.cluster.jobs.manifest import JobRequest
from vicur.cluster.jobs.names import job_name, labels
from vicur.cluster.jobs.server_pod import server_roles
from vicur.cluster.jobs.servers import urls
from vicur.cluster.jobs.task import VARIABLE, NodeTask
from vicur.cluster.jobs.transfer import download_student, student_exists, upload_inputs
from vicur.cluster.trainable import require_common_place, require_trainable_on
from vicur.cluster.usage import GPU_HOURS, usage_of
from vicur.config.cluster import ClusterConfig
from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainConfig
from vicur.processes.machines import SERVERS
from vicur.processes.signals import StopOnSigterm
from vicur.redaction import redacted
from vicur.stage.runner import CachedSummary, Context, Stage, stage_key
from vicur.stage.table import STAGES
from vicur.tracking.injected import for_other_pods

# Addresses of the step's object store.
_FORWARDED_VARIABLES = (
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
    """Train one student on other nodes: the stage function, with the nodes in ``pool`` and S3 addresses in addition.

    Raises:
        VicurError: if the training cannot run, before a node is requested; or if the job does not succeed.
    """
    root = checkpoints.rstrip("/")
    require_common_place(root)
    _require_trainable(config, inputs, pool)
    job_context = JobContext.of_this_process(pool.image)
    work = stage_key(context.identity)
    student = f"{root}/{work}"
    # Without a handler, SIGTERM would end this process within the upload, without an exit status that says "retry".
    with StopOnSigterm():
        uploaded = upload_inputs(root, inputs, context.identity["inputs"], pool.jobs.shared_folders)
    label = context.events.stage
    task = NodeTask(
        label=label,
        section=config.model_dump(mode="json", exclude_none=True),
        seed=context.seed,
        tracking=tracking.model_dump(mode="json"),
        identity=context.identity,
        checkpoints=root,
        inputs=uploaded,
    )
    name = job_name(context.run_id, label, work)
    roles = server_roles(config, uploaded, pool, pool.serving_image or job_context.image)
    environment = {"VICUR_RUN_ID": context.run_id, VARIABLE: task.to_variable()}
    if roles:
        environment[SERVERS] = json.dumps({"urls": {role.name: urls(name, role) for role in roles}})
    request = JobRequest(
        name=name,
        namespace=job_context.api.namespace,
        labels=labels(context.run_id, label),
        work=work,
        image=job_context.image,
        environment={**_forwarded(os.environ), **environment},
        owner=job_context.owner,
        servers=roles,
    )
    summary = run_job(
        job_context.api,
        request,
        pool,
        collect=partial(download_student, student, output),
        is_done=partial(student_exists, student),
        report=partial(context.events.emit, "progress"),
        print_line=partial(print, flush=True),
        on_end=partial(_record_usage, context, pool),
    )
    return CachedSummary.model_validate(summary)


def _record_usage(context: Context, pool: ClusterConfig, pods: list[dict[str, Any]]) -> None:
    # The exit step sums these up: it runs when the pods are gone. Each attempt adds its pods' usage.
    context.tracker.metrics({GPU_HOURS: usage_of(pods, pool, datetime.now(UTC)).gpu_hours})


@dataclass(frozen=True)
class TrainJobStage:
    """The training stage as a TrainJob. It does the same work under the same name, so it has the same identity."""

    pool: ClusterConfig
    tracking: TrackingConfig
    checkpoints: str
    name: str = "train"
    summary: type[CachedSummary] = CachedSummary
    reusable: bool = True

    @property
    def code(self) -> str:
        """Version of the training's code."""
        return STAGES[self.name].reference.code

    def load(self) -> Stage[CachedSummary]:
        """Return the stage whose function launches the training."""
        launch = partial(launch_training, pool=self.pool, tracking=self.tracking, checkpoints=self.checkpoints)
        return Stage(self.name, launch, CachedSummary)


def _require_trainable(config: TrainConfig, inputs: Mapping[str, Path], pool: ClusterConfig) -> None:
    # The nodes would find the same problems, but possibly after hours in the queue.
    # Imports torch.
    from vicur.modeling.chat import Chat
    from vicur.training.preflight import require_fit

    require_trainable_on(config, pool)
    require_fit(config, inputs, Chat.load(inputs["base"], config.prompts))


def _forwarded(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the step's variables that its nodes get as well."""
    stores = {name: environment[name] for name in _FORWARDED_VARIABLES if environment.get(name)}
    values = {**stores, **for_other_pods(environment)}
    # A job is readable by many accounts, so an address that contains a password is left out.
    return {name: value for name, value in values.items() if redacted(value) == value}
