"""The one place that logs runs: to a local JSONL file and to MLflow. Stages get a tracker; none calls MLflow.

A pipeline run is one MLflow run, and each of its stages a run nested in it. Both are found again by their tags, so a
stage that was killed goes on in the run that it began.

A platform may have started runs already (``MLFLOW_RUN_ID``). Kubeflow Pipelines hands each step a run that it nested
for that step in the pipeline's: the stage logs to it and leaves its status to the platform. A run that is nested in
nothing stands for the whole pipeline, and the stages are nested in it.

Tracking that fails half-way does not fail the work: what cannot be sent is kept and sent later, or told in the log.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from vicur.config.tracking import TrackingConfig
from vicur.redaction import redacted, redacted_value
from vicur.tracking.mlflow import (
    EMBEDDED_URI,
    answering,
    connect,
    creation_lock,
    experiment_id,
    find_or_start,
    public_address,
    tracking_uri,
    transient,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

__all__ = [
    "EMBEDDED_URI",
    "RUN_TAG",
    "STAGE_TAG",
    "Tracker",
    "connect",
    "finish_pipeline",
    "open_tracker",
    "pipeline_run",
    "tracking_uri",
]

log = logging.getLogger(__name__)

RUN_TAG = "vicur.run_id"
STAGE_TAG = "vicur.stage"
_PIPELINE = "pipeline"
_PARENT_TAG = "mlflow.parentRunId"
_NAME_TAG = "mlflow.runName"
_BATCH = 500
_PARAM_BATCH = 100
_MAX_PENDING = 100_000
_MAX_DEPTH = 32
_FLUSH_SECONDS = 5.0
_RETRY_SECONDS = 60.0

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker:
    """Logs one stage. A context manager: leaving it sends what is left and closes the MLflow run with its true status.

    Args:
        jsonl: file that each metrics record is appended to, or none.
        client: MLflow's client, or none to log locally only.
        run_id: the MLflow run to log to.
        parent_run_id: the run of the whole pipeline.
        joined: the run is the platform's, which closes it.
        uri: MLflow's address as it may be shown, without secrets.
    """

    def __init__(
        self,
        jsonl: Path | None = None,
        client: MlflowClient | None = None,
        run_id: str | None = None,
        parent_run_id: str | None = None,
        *,
        joined: bool = False,
        uri: str | None = None,
    ) -> None:
        self.client = client
        self.uri = uri
        self.run_id = run_id
        self.parent_run_id = parent_run_id
        self._jsonl = jsonl
        self._joined = joined
        self._pending: list[Metric] = []
        self._next_flush = time.monotonic() + _FLUSH_SECONDS
        self._told = False

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        if self._joined:
            return
        status: Status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        self._send(lambda client, run_id: client.set_terminated(run_id, status))

    def params(self, params: Mapping[str, Any]) -> None:
        """Logs parameters; nested ones under dotted names, secrets masked.

        MLflow keeps the first value of a parameter for good: where a resumed stage brings another, it is told in a tag.
        """
        flat = {key: redacted_value(key, value)[:6000] for key, value in flattened(params)}
        self._send(lambda client, run_id: _log_params(client, run_id, flat))

    def tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags of the run, secrets masked."""
        from_names = {key: redacted_value(key, value) for key, value in tags.items()}
        self._send(lambda client, run_id: _log_tags(client, run_id, from_names))

    def metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Logs figures of one step. Figures that are not finite stand as ``null`` in the JSONL record."""
        if not metrics:
            return
        if self._jsonl is not None:
            record = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
            with self._jsonl.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, **record}) + "\n")
        if self.client is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._pending += [Metric(key, float(value), now, step) for key, value in metrics.items()]
        del self._pending[:-_MAX_PENDING]
        # In MLflow's transactions it is their number that costs, not their rows.
        if time.monotonic() >= self._next_flush:
            self.flush()

    def last_step(self, names: Sequence[str]) -> int:
        """The last step that the run has any of these metrics of, those not sent yet included; -1 for none.

        Asked of MLflow, so that it also knows what an earlier process of the same stage has sent; without MLflow, of the JSONL file.
        """
        steps = [metric.step for metric in self._pending if metric.key in names]
        if self.client is None and self._jsonl is not None and self._jsonl.exists():
            records = map(json.loads, self._jsonl.read_text(encoding="utf-8").splitlines())
            steps += [record["step"] for record in records if not record.keys().isdisjoint(names)]

        def ask(client: MlflowClient, run_id: str) -> None:
            for name in names:
                steps.extend(metric.step for metric in client.get_metric_history(run_id, name))

        self._send(ask)
        return max(steps, default=-1)

    def flush(self) -> None:
        """Sends what has not been sent. What a server in trouble does not take is kept and tried again a minute later.

        The metrics of one step go in one request where they fit, which MLflow takes whole or not at all.
        """
        while self._pending:
            batch = self._pending[: _whole_steps(self._pending)]
            if not self._send(partial(_log_metrics, metrics=batch)):
                self._next_flush = time.monotonic() + _RETRY_SECONDS
                return
            del self._pending[: len(batch)]
        self._next_flush = time.monotonic() + _FLUSH_SECONDS

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Uploads a file, or all that is below a folder, to the run."""
        upload = "log_artifacts" if path.is_dir() else "log_artifact"
        self._send(lambda client, run_id: getattr(client, upload)(run_id, str(path), folder))

    def dataset(self, name: str, dvc_hash: str, context: str, profile: Mapping[str, Any] | None = None) -> None:
        """Records the dataset as an input of the run, by its DVC hash.

        Args:
            name: how people call it (``digit_scenes``).
            dvc_hash: DVC's md5 of the folder, with or without ``.dir``.
            context: what it was used for (``training``, ``evaluation``).
            profile: facts to show beside it, such as examples by split.
        """
        self._send(lambda client, run_id: log_dataset(client, run_id, name, dvc_hash, context, profile))

    def _send(self, action: Callable[[MlflowClient, str], object]) -> bool:
        """Does something at MLflow; says whether it worked. A wrong request raises: it would be wrong next time too."""
        if self.client is None or self.run_id is None:
            return True
        from mlflow.exceptions import MlflowException

        try:
            action(self.client, self.run_id)
        except (MlflowException, OSError) as error:
            if isinstance(error, MlflowException) and not transient(error):
                raise
            if not self._told:
                reason = redacted(str(error)).splitlines()[0]
                log.warning(
                    "MLflow at %s takes nothing at the moment (%s): the stage goes on, its log there may have gaps",
                    self.uri,
                    reason,
                )
            self._told = True
            return False
        self._told = False
        return True


def _whole_steps(pending: Sequence[Metric]) -> int:
    """How many of the first metrics to send in one request: as many as it takes, without a step in part."""
    if len(pending) <= _BATCH:
        return len(pending)
    cut = _BATCH
    while cut > 0 and pending[cut].step == pending[cut - 1].step:
        cut -= 1
    return cut or _BATCH


def flattened(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Leaves of nested mappings under dotted names; ``None`` is a value, an empty mapping has no leaf."""
    leaves: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            leaves += flattened(value, f"{prefix}{key}.")
        else:
            leaves.append((f"{prefix}{key}", value))
    return leaves


def _log_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    rows = [Param(key, value) for key, value in params.items() if key not in known]
    for start in range(0, len(rows), _PARAM_BATCH):
        client.log_batch(run_id, params=rows[start : start + _PARAM_BATCH])
    _log_tags(
        client,
        run_id,
        {f"vicur.changed.{key}": value for key, value in params.items() if known.get(key, value) != value},
    )


def _log_metrics(client: MlflowClient, run_id: str, metrics: list[Metric]) -> None:
    client.log_batch(run_id, metrics=metrics)


def _log_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    rows = [RunTag(key, value) for key, value in tags.items()]
    for start in range(0, len(rows), _PARAM_BATCH):
        client.log_batch(run_id, tags=rows[start : start + _PARAM_BATCH])


def log_dataset(
    client: MlflowClient, run_id: str, name: str, dvc_hash: str, context: str, profile: Mapping[str, Any] | None
) -> None:
    """Records a dataset as an input of any run; see :meth:`Tracker.dataset`."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = dvc_hash.removesuffix(".dir")
    dataset = Dataset(
        name, digest, "dvc", json.dumps({"md5": f"{digest}.dir"}), profile=json.dumps(dict(profile or {}))
    )
    client.log_inputs(run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])


def pipeline_run(client: MlflowClient, config: TrackingConfig, run_id: str) -> str:
    """Id of the MLflow run of the whole pipeline run: the platform's where it started one, else found or created."""
    injected = _injected(client)
    if injected is not None:
        root = _root(client, injected)
        if RUN_TAG not in root.data.tags:
            _log_tags(client, root.info.run_id, {RUN_TAG: run_id, STAGE_TAG: _PIPELINE})
        return str(root.info.run_id)
    keys = {RUN_TAG: run_id, STAGE_TAG: _PIPELINE}
    with creation_lock(client.tracking_uri):
        return find_or_start(client, experiment_id(client, config), keys, {_NAME_TAG: run_id})


def finish_pipeline(
    config: TrackingConfig, run_id: str, status: Status, metrics: Mapping[str, float] | None = None
) -> None:
    """Closes the MLflow run of the whole pipeline, unless the platform has started it and closes it itself.

    Args:
        config: where the run is tracked.
        run_id: the pipeline run.
        status: how it ended.
        metrics: figures of the whole run, logged to it in either case.

    Raises:
        VicurError: where MLflow does not answer.
    """
    client = connect(config)
    with answering(client.tracking_uri):
        run = pipeline_run(client, config, run_id)
        for name, value in (metrics or {}).items():
            client.log_metric(run, name, value)
        if _injected(client) is None:
            client.set_terminated(run, status)


def metric_total(config: TrackingConfig, run_id: str, name: str) -> float:
    """All that the stages of a pipeline run have logged of a metric, summed up.

    Raises:
        VicurError: where MLflow does not answer.
    """
    client = connect(config)
    with answering(client.tracking_uri):
        pipeline = pipeline_run(client, config, run_id)
        experiment = client.get_run(pipeline).info.experiment_id
        stages = client.search_runs([experiment], f"tags.`{_PARENT_TAG}` = '{pipeline}'")
        logged = [each for run in stages for each in client.get_metric_history(run.info.run_id, name)]
    return float(sum(each.value for each in logged))


def open_tracker(config: TrackingConfig, run_id: str, stage: str, jsonl: Path | None = None) -> Tracker:
    """A tracker for ``stage`` of pipeline run ``run_id``, nested in the pipeline's own MLflow run.

    Raises:
        VicurError: where MLflow does not answer.
    """
    client = connect(config)
    with answering(client.tracking_uri):
        address = public_address(config)
        parent = pipeline_run(client, config, run_id)
        injected = _injected(client)
        if injected is not None and _is_for(injected, stage):
            _log_tags(client, injected.info.run_id, {RUN_TAG: run_id, STAGE_TAG: stage})
            return Tracker(jsonl, client, injected.info.run_id, parent, joined=True, uri=address)
        experiment = client.get_run(parent).info.experiment_id
        keys = {RUN_TAG: run_id, STAGE_TAG: stage, _PARENT_TAG: parent}
        with creation_lock(client.tracking_uri):
            return Tracker(
                jsonl, client, find_or_start(client, experiment, keys, {_NAME_TAG: stage}), parent, uri=address
            )


def _injected(client: MlflowClient) -> Run | None:
    run_id = os.environ.get("MLFLOW_RUN_ID")
    return client.get_run(run_id) if run_id else None


def _is_for(run: Run, stage: str) -> bool:
    """Whether the platform's run is for this stage alone: nested in another, and no other stage has logged to it."""
    return _PARENT_TAG in run.data.tags and run.data.tags.get(STAGE_TAG, stage) == stage


def _root(client: MlflowClient, run: Run) -> Run:
    """The outermost run around ``run`` (loops and nested pipelines have runs of their own in between)."""
    for _ in range(_MAX_DEPTH):
        parent = run.data.tags.get(_PARENT_TAG)
        if parent is None:
            break
        run = client.get_run(parent)
    return run
