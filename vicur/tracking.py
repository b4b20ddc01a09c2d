"""The one place that logs runs: to a local JSONL file and to MLflow. Stages get a tracker; none calls MLflow.

A pipeline run is one MLflow run, and each of its stages a run nested in it. Both are found again by their tags, so a stage that
was killed goes on in the run that it began. Where the platform has started a run for the pipeline (``MLFLOW_RUN_ID``), that one is
the parent, in whatever experiment it stands.
"""

from __future__ import annotations

import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError

if TYPE_CHECKING:
    from mlflow import MlflowClient

EMBEDDED_URI = "sqlite:///mlflow/mlflow.db"
_EMBEDDED_ARTIFACTS = Path("mlflow/artifacts")
RUN_TAG = "vicur.run_id"
STAGE_TAG = "vicur.stage"
_BATCH = 500
_FLUSH_SECONDS = 5.0


def tracking_uri(config: TrackingConfig) -> str:
    """The MLflow address in force: the configuration's, else the environment's, else the embedded store's."""
    return config.uri or os.environ.get("MLFLOW_TRACKING_URI") or EMBEDDED_URI


def connect(config: TrackingConfig) -> MlflowClient:
    """A client for the tracking server, once it is known to answer.

    Raises:
        VicurError: where the server does not answer or the embedded store's packages are missing.
    """
    uri = tracking_uri(config)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if uri.startswith(("http://", "https://")):
        _require_health(uri)
    from mlflow import MlflowClient

    if not uri.startswith("sqlite:///"):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    database = Path(uri.removeprefix("sqlite:///"))
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        # Creating the tables is not safe for two processes at once.
        with FileLock(database.with_suffix(".lock")):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)
    except ImportError as error:
        raise VicurError(
            f"needs a package that is not installed ({error.name}).",
            where=uri,
            remedy="Install vicur[local], or set MLFLOW_TRACKING_URI to a server.",
        ) from error
    except OSError as error:
        raise VicurError(
            f"cannot be written ({error.strerror or error}).", where=uri, remedy="Choose a tracking URI that this user can write to."
        ) from error
    return client


def _require_health(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10) as answer:  # noqa: S310 (http is checked by the caller)
            if answer.status == 200:
                return
            reason = f"status {answer.status}"
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        reason = str(getattr(error, "reason", error))
    raise VicurError(
        f"MLflow does not answer ({reason}).",
        where=uri,
        remedy="Start the server, correct the address, or unset MLFLOW_TRACKING_URI to use the embedded store.",
        retryable=True,
    )


def experiment_id(client: MlflowClient, config: TrackingConfig) -> str:
    """Id of the run's experiment, which is created where it does not exist."""
    if injected := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return injected
    found = client.get_experiment_by_name(config.experiment)
    if found is not None:
        return str(found.experiment_id)
    embedded = tracking_uri(config) == EMBEDDED_URI
    location = _EMBEDDED_ARTIFACTS.absolute().as_uri() if embedded else None
    try:
        return str(client.create_experiment(config.experiment, artifact_location=location))
    except Exception:
        # Another process of the same run may have been quicker.
        found = client.get_experiment_by_name(config.experiment)
        if found is None:
            raise
        return str(found.experiment_id)


def _find_or_start(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> str:
    where = " and ".join(f"tags.`{k}` = '{v}'" for k, v in tags.items() if k in (RUN_TAG, STAGE_TAG))
    found = client.search_runs([experiment], filter_string=where, max_results=1, order_by=["attributes.start_time ASC"])
    if found:
        client.update_run(found[0].info.run_id, status="RUNNING")
        return str(found[0].info.run_id)
    return str(client.create_run(experiment, tags=dict(tags)).info.run_id)


class Tracker:
    """Logs one stage. Use it as a context manager: leaving it sends what is left and closes the MLflow run with its true status.

    Args:
        jsonl: file that each metrics record is appended to, or none.
        client: MLflow's client, or none to log locally only.
        run_id: the MLflow run to log to.
        parent_run_id: the run of the whole pipeline.
    """

    def __init__(
        self, jsonl: Path | None = None, client: MlflowClient | None = None, run_id: str | None = None, parent_run_id: str | None = None
    ) -> None:
        self.client = client
        self.run_id = run_id
        self.parent_run_id = parent_run_id
        self._jsonl = jsonl
        self._pending: list[Any] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.client is not None and self.run_id is not None:
            self.flush()
            self.client.set_terminated(self.run_id, "FINISHED" if kind is None else "FAILED")

    def params(self, params: Mapping[str, Any]) -> None:
        """Logs parameters. A parameter that the run has already (a resumed stage) must not change, as MLflow has it."""
        if self.client is not None and self.run_id is not None:
            from mlflow.entities import Param

            rows = [Param(key, str(value)[:6000]) for key, value in params.items()]
            for start in range(0, len(rows), 100):
                self.client.log_batch(self.run_id, params=rows[start : start + 100])

    def tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags of the run."""
        if self.client is not None and self.run_id is not None:
            for key, value in tags.items():
                self.client.set_tag(self.run_id, key, value)

    def metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Logs figures of one step. Figures that are not finite are left out of the JSONL record as ``null``."""
        if not metrics:
            return
        if self._jsonl is not None:
            record = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
            with self._jsonl.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, **record}) + "\n")
        if self.client is not None and self.run_id is not None:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            self._pending += [Metric(key, float(value), now, step) for key, value in metrics.items()]
            if len(self._pending) >= _BATCH or time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Sends what has not been sent."""
        if self.client is None or self.run_id is None:
            return
        while self._pending:
            self.client.log_batch(self.run_id, metrics=self._pending[:_BATCH])
            self._pending = self._pending[_BATCH:]
        self._flushed = time.monotonic()

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Uploads a file, or all that is below a folder, to the run."""
        if self.client is not None and self.run_id is not None:
            if path.is_dir():
                self.client.log_artifacts(self.run_id, str(path), folder)
            else:
                self.client.log_artifact(self.run_id, str(path), folder)


def pipeline_run(client: MlflowClient, config: TrackingConfig, run_id: str) -> str:
    """Id of the MLflow run that stands for the whole pipeline run: the platform's where it started one, else found or created."""
    if injected := os.environ.get("MLFLOW_RUN_ID"):
        return injected
    experiment = experiment_id(client, config)
    return _find_or_start(client, experiment, {RUN_TAG: run_id, STAGE_TAG: "pipeline", "mlflow.runName": run_id})


def open_tracker(config: TrackingConfig, run_id: str, stage: str, jsonl: Path | None = None) -> Tracker:
    """A tracker for ``stage`` of pipeline run ``run_id``, nested in the pipeline's own MLflow run.

    Raises:
        VicurError: where MLflow does not answer.
    """
    client = connect(config)
    parent = pipeline_run(client, config, run_id)
    experiment = client.get_run(parent).info.experiment_id
    tags = {RUN_TAG: run_id, STAGE_TAG: stage, "mlflow.runName": f"{run_id} {stage}", "mlflow.parentRunId": parent}
    return Tracker(jsonl, client, _find_or_start(client, experiment, tags), parent)
