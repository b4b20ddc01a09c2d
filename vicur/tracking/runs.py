"""The MLflow runs of a pipeline run: one for the whole pipeline, and one nested in it for each stage.

Runs are found again by their tags, so a stage that was killed continues in the run that it started.

A platform may have started a run already (``MLFLOW_RUN_ID``). Kubeflow Pipelines starts one for each step, nested in the
pipeline's: the stage logs to it and leaves its status to the platform. A platform run that is not nested represents the whole
pipeline, and the stages are nested in it.

Functions that take a configuration connect to MLflow, and raise a :class:`~vicur.errors.VicurError` if it does not respond.
"""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.tracking.mlflow import connect, creation_lock, mlflow_errors, public_address, sqlite_file
from vicur.tracking.records import log_tags
from vicur.tracking.tracker import Status, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

RUN_TAG = "vicur.run_id"
STAGE_TAG = "vicur.stage"
OUTCOME_TAG = "vicur.outcome"
"""Tag of the pipeline's run with the exit step's text."""
_PIPELINE = "pipeline"
_PARENT_TAG = "mlflow.parentRunId"
_NAME_TAG = "mlflow.runName"
_MAX_STAGES = 5000
# Guards against a cycle of parent tags.
_MAX_DEPTH = 32


def open_tracker(config: TrackingConfig, run_id: str, stage: str, jsonl: Path | None = None) -> Tracker:
    """Open a tracker for ``stage`` of the pipeline run ``run_id``."""
    client = connect(config)
    with mlflow_errors(client.tracking_uri):
        address = public_address(config)
        parent = pipeline_run(client, config, run_id)
        injected = _injected(client)
        # A run of the platform that other stages log to as well gets a nested run for each stage.
        if injected is not None and _is_for(injected, stage):
            _warn_about_experiment(config.experiment)
            # The platform's name is that of the task, which the students of all methods share.
            log_tags(client, injected.info.run_id, {RUN_TAG: run_id, STAGE_TAG: stage, _NAME_TAG: stage})
            return Tracker(jsonl, client, injected.info.run_id, parent, joined=True, uri=address)
        experiment = client.get_run(parent).info.experiment_id
        keys = {RUN_TAG: run_id, STAGE_TAG: stage, _PARENT_TAG: parent}
        with creation_lock(client.tracking_uri):
            return Tracker(
                jsonl, client, find_or_start(client, experiment, keys, {_NAME_TAG: stage}), parent, uri=address
            )


def pipeline_run(client: MlflowClient, config: TrackingConfig, run_id: str) -> str:
    """Return the id of the MLflow run of the whole pipeline: the platform's if it started one, else an existing or new one.

    A run that has ended with an outcome keeps its status. If Kubeflow Pipelines retries it, and it fails again, nothing would close it.
    """
    injected = _injected(client)
    if injected is not None:
        root = _root(client, injected)
        if RUN_TAG not in root.data.tags:
            log_tags(client, root.info.run_id, {RUN_TAG: run_id, STAGE_TAG: _PIPELINE})
        return str(root.info.run_id)
    keys = {RUN_TAG: run_id, STAGE_TAG: _PIPELINE}
    with creation_lock(client.tracking_uri):
        return find_or_start(client, experiment_id(client, config), keys, {_NAME_TAG: run_id}, ended=OUTCOME_TAG)


def finish_pipeline(
    config: TrackingConfig,
    run_id: str,
    status: Status,
    *,
    metrics: Mapping[str, float] | None = None,
    outcome: str | None = None,
    close_stages: bool = False,
) -> None:
    """Log ``metrics`` to the MLflow run of the whole pipeline, and close it unless it belongs to the platform.

    Args:
        outcome: text of :data:`OUTCOME_TAG`; empty removes that of an earlier end, ``None`` keeps it.
        close_stages: also close runs of stages that were killed. The platform closes only the direct children of its own run.
    """
    client = connect(config)
    with mlflow_errors(client.tracking_uri):
        run = pipeline_run(client, config, run_id)
        for name, value in (metrics or {}).items():
            client.log_metric(run, name, value)
        if outcome:
            log_tags(client, run, {OUTCOME_TAG: outcome})
        elif outcome is not None and OUTCOME_TAG in client.get_run(run).data.tags:
            client.delete_tag(run, OUTCOME_TAG)
        for stage in _stages(client, run, run_id) if close_stages else ():
            if stage.info.status == "RUNNING":
                client.set_terminated(stage.info.run_id, status)
        if _injected(client) is None:
            client.set_terminated(run, status)


def metric_total(config: TrackingConfig, run_id: str, name: str) -> float:
    """Return the sum of all values of a metric over the stages of a pipeline run."""
    client = connect(config)
    with mlflow_errors(client.tracking_uri):
        stages = _stages(client, pipeline_run(client, config, run_id), run_id)
        logged = [each for run in stages for each in client.get_metric_history(run.info.run_id, name)]
    return float(sum(each.value for each in logged))


def stage_statuses(config: TrackingConfig, run_id: str, stages: Iterable[str]) -> dict[str, str]:
    """Return MLflow's status of those of ``stages`` that have started in a pipeline run."""
    client = connect(config)
    with mlflow_errors(client.tracking_uri):
        runs = _stages(client, pipeline_run(client, config, run_id), run_id)
    statuses = {str(run.data.tags.get(STAGE_TAG)): str(run.info.status) for run in runs}
    return {stage: statuses[stage] for stage in stages if stage in statuses}


def _stages(client: MlflowClient, pipeline: str, run_id: str) -> list[Run]:
    """Return the runs of the stages of a pipeline run."""
    # By their tag and not by their parent: the platform nests them in runs of loops and of sub-pipelines.
    experiment = client.get_run(pipeline).info.experiment_id
    found = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{_quotable(run_id)}'", max_results=_MAX_STAGES)
    return [run for run in found if run.info.run_id != pipeline]


@cache
def _warn_about_experiment(experiment: str) -> None:
    if experiment != TrackingConfig().experiment:
        log.warning(
            "tracking.experiment is %r, but the platform has started MLflow's run for this step, so its experiment is used.",
            experiment,
        )


def experiment_id(client: MlflowClient, config: TrackingConfig) -> str:
    """Return the id of the run's experiment, which is created if it does not exist.

    Raises:
        VicurError: if the experiment has been deleted.
    """
    # The platform's experiment takes precedence, as its run does.
    if injected := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return injected
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(config.experiment)
    if experiment is None:
        # Artifacts of an embedded store go next to its database. A server chooses the location itself.
        file = sqlite_file(client.tracking_uri)
        location = None if file is None else (file.parent / "artifacts").absolute().as_uri()
        try:
            return str(client.create_experiment(config.experiment, artifact_location=location))
        except MlflowException as error:
            # Another process may have created it in between.
            experiment = client.get_experiment_by_name(config.experiment)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise VicurError(
            f"the experiment {config.experiment!r} has been deleted.",
            where=redacted(client.tracking_uri),
            remedy=f"Restore it (`mlflow experiments restore -x {experiment.experiment_id}`), or choose another name "
            "(tracking.experiment).",
        )
    return str(experiment.experiment_id)


def find_or_start(
    client: MlflowClient, experiment: str, keys: Mapping[str, str], tags: Mapping[str, str], *, ended: str = ""
) -> str:
    """Return the id of the run with the tags ``keys``, set to running again, or of a new run with ``keys`` and ``tags``.

    Args:
        ended: tag of runs that keep their status.
    """
    existing = _runs_with(client, experiment, keys)
    if existing:
        if not ended or ended not in client.get_run(existing[0]).data.tags:
            client.update_run(existing[0], status="RUNNING")
        return existing[0]
    created = client.create_run(experiment, tags={**keys, **_author(), **tags}).info.run_id
    # A server has no lock. Two processes that create the run at once see each other's afterwards: both use the earlier
    # run, and the process with the later one deletes its own.
    first = _runs_with(client, experiment, keys)[0]
    if first != created:
        client.delete_run(created)
    return first


def _runs_with(client: MlflowClient, experiment: str, keys: Mapping[str, str]) -> list[str]:
    condition = " and ".join(f"tags.`{key}` = '{_quotable(value)}'" for key, value in keys.items())
    runs = client.search_runs(
        [experiment], filter_string=condition, max_results=10, order_by=["attributes.start_time ASC"]
    )
    return [run.info.run_id for run in sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))]


def _quotable(value: str) -> str:
    if "'" in value:
        raise ValueError(f"{value!r} contains a quote, which MLflow's search cannot escape")
    return value


def _author() -> dict[str, str]:
    try:
        return {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError):
        # The user id of a container may have no name.
        return {}


def _injected(client: MlflowClient) -> Run | None:
    run_id = os.environ.get("MLFLOW_RUN_ID")
    return client.get_run(run_id) if run_id else None


def _is_for(run: Run, stage: str) -> bool:
    # For this stage alone: the platform's run is nested in another, and no other stage has logged to it.
    return _PARENT_TAG in run.data.tags and run.data.tags.get(STAGE_TAG, stage) == stage


def _root(client: MlflowClient, run: Run) -> Run:
    # Loops and nested pipelines have runs between the pipeline's and the step's.
    for _ in range(_MAX_DEPTH):
        parent = run.data.tags.get(_PARENT_TAG)
        if parent is None:
            break
        run = client.get_run(parent)
    return run
