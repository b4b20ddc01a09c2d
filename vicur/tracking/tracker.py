"""The one place that logs runs: to a local JSONL file and to MLflow. Stages get a tracker; none calls MLflow.

A pipeline run is one MLflow run, and each of its stages a run nested in it (see :mod:`vicur.tracking.runs`).

A tracking failure during a stage does not fail the stage. Metrics are sent by a thread, so a stage never waits for MLflow in order to log
them; those that cannot be sent are kept and sent later. Other records are skipped with a warning in the log.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from vicur.errors import VicurError
from vicur.redaction import redacted_value
from vicur.storage.scratch import scratch_folder
from vicur.tracking.backlog import Record
from vicur.tracking.mlflow import environment, is_refusal, is_transient, readable
from vicur.tracking.outage import Outage
from vicur.tracking.records import flattened, log_dataset, log_params, log_tags
from vicur.tracking.sender import ONE_TRY, MetricSender

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

# A pod that is stopped has 180 s for a training step, a checkpoint and this.
_CLOSE_SECONDS = 30.0

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker:
    """Logs one stage. As a context manager, it sends pending records on exit and closes the MLflow run with its status.

    Args:
        jsonl: file that each metrics record is appended to.
        client: MLflow client; ``None`` logs locally only.
        joined: the MLflow run belongs to the platform, which closes it.
        uri: MLflow's address without secrets, for messages.
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
        self._outage = Outage(uri)
        self._sender: MetricSender | None = None
        if client is not None and run_id is not None:
            self._sender = MetricSender(client, run_id, scratch_folder() / "unsent" / f"{run_id}.jsonl", self._outage)
        self._last_step = -1  # of the records of a training

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status: Status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        responds = False
        try:
            responds = self._sender is None or self._sender.close(_CLOSE_SECONDS)
        except BaseException:
            status = "FAILED"
            raise
        finally:
            if not self._joined:
                self._close_run(status, {} if responds else ONE_TRY)

    def _close_run(self, status: Status, settings: Mapping[str, str]) -> None:
        try:
            # A server that was away until now has had its time.
            with environment(**settings):
                self._send(lambda client, run_id: client.set_terminated(run_id, status))
        except VicurError as error:
            # The stage's result is complete, and only this record of it is missing.
            log.error("The MLflow run could not be closed as %s: %s", status, error)

    def params(self, params: Mapping[str, Any]) -> None:
        """Log parameters: nested ones under dotted names, secrets masked."""
        # MLflow rejects values of more than 6,000 characters.
        flat = {key: redacted_value(key, value)[:6000] for key, value in flattened(params)}
        self._send(lambda client, run_id: log_params(client, run_id, flat))

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run, secrets masked."""
        masked = {key: redacted_value(key, value) for key, value in tags.items()}
        self._send(lambda client, run_id: log_tags(client, run_id, masked))

    def metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics of one step. Values that are not finite are written as ``null`` to the JSONL file."""
        if metrics:
            self._write(metrics, step)
            self._queue([(step, metrics)], once=False)

    def steps(self, records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
        """Log those records of a training that the run does not have yet, each with its ``step``, in ascending order.

        A resumed training passes the records of its earlier processes, too: they may not have reached MLflow.

        Args:
            names: metrics of which each record has at least one.
        """
        if not records or records[-1]["step"] <= self._last_step:
            return
        new = [record for record in records if record["step"] > self._last_step]
        written = self._last_written(names) if self._last_step < 0 else -1
        self._last_step = new[-1]["step"]
        rows = [(int(each["step"]), {k: v for k, v in each.items() if k != "step"}) for each in new]
        for step, metrics in rows:
            if step > written:
                self._write(metrics, step)
        self._queue(rows, once=True, names=names)

    def _write(self, metrics: Mapping[str, float | None], step: int) -> None:
        if self._jsonl is not None:
            record = {k: v if v is not None and math.isfinite(v) else None for k, v in metrics.items()}
            with self._jsonl.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, **record}) + "\n")

    def _last_written(self, names: Sequence[str]) -> int:
        if self._jsonl is None or not self._jsonl.exists():
            return -1
        records = map(json.loads, self._jsonl.read_text(encoding="utf-8").splitlines())
        return max((record["step"] for record in records if not record.keys().isdisjoint(names)), default=-1)

    def _queue(self, rows: Sequence[tuple[int, Mapping[str, float]]], *, once: bool, names: Sequence[str] = ()) -> None:
        if self._sender is not None:
            now = int(time.time() * 1000)
            # The file of a worker process has null for values that are not finite.
            values = [{k: math.nan if v is None else float(v) for k, v in each.items()} for _, each in rows]
            records = [Record(step, now, each, once) for (step, _), each in zip(rows, values, strict=True)]
            self._sender.put(records, names)

    def flush(self) -> bool:
        """Send the waiting metrics now. Return whether MLflow has them all."""
        return self._sender is None or self._sender.flush()

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Upload a file, or a folder's content, to the run."""
        upload = "log_artifacts" if path.is_dir() else "log_artifact"
        self._send(lambda client, run_id: getattr(client, upload)(run_id, str(path), folder))

    def dataset(self, name: str, dvc_hash: str, context: str, profile: Mapping[str, Any] | None = None) -> None:
        """Record a dataset as an input of the run.

        Args:
            name: readable name (``digit_scenes``).
            dvc_hash: DVC's md5 of the folder, with or without ``.dir``.
            context: purpose in the run (``training``, ``evaluation``).
            profile: facts shown in MLflow's UI, such as the number of examples per split.
        """
        self._send(lambda client, run_id: log_dataset(client, run_id, name, dvc_hash, context, profile))

    def _send(self, action: Callable[[MlflowClient, str], object]) -> bool:
        """Run an action against MLflow and return whether it succeeded."""
        if self.client is None or self.run_id is None:
            return True
        from mlflow.exceptions import MlflowException

        try:
            # Not while the sender has changed MLflow's settings for itself.
            with environment():
                action(self.client, self.run_id)
        except (MlflowException, OSError) as error:
            if is_refusal(error):
                raise readable(error, self.uri or "MLflow") from error
            # An invalid request is a defect in the caller: it would fail again later, so it is raised.
            if isinstance(error, MlflowException) and not is_transient(error):
                raise
            self._outage.begins(error)
            return False
        self._outage.ends()
        return True
