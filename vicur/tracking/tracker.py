"""The one place that logs runs: to a local JSONL file and to MLflow. Stages get a tracker; none calls MLflow.

A pipeline run is one MLflow run, and each of its stages a run nested in it (see :mod:`vicur.tracking.runs`).

A tracking failure during a stage does not fail the stage. Metrics that cannot be sent are kept and sent later; other records are
skipped with a warning in the log.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from vicur.redaction import redacted, redacted_value
from vicur.tracking.mlflow import is_transient
from vicur.tracking.records import batch_size, flattened, log_dataset, log_metrics, log_params, log_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

log = logging.getLogger(__name__)

_MAX_PENDING = 100_000
_FLUSH_SECONDS = 5.0
_RETRY_SECONDS = 60.0

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
        self._pending: list[Metric] = []
        self._next_flush = time.monotonic() + _FLUSH_SECONDS
        self._warned = False

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
        # If MLflow stays unreachable for long, the oldest metrics are dropped instead of filling the memory.
        del self._pending[:-_MAX_PENDING]
        # The cost of a log_batch request hardly depends on its number of rows, so metrics are sent in few requests.
        if time.monotonic() >= self._next_flush:
            self.flush()

    def last_step(self, names: Sequence[str]) -> int:
        """Return the last step with any of these metrics, including pending ones; -1 if there is none."""
        # MLflow is read if there is one: it also has the metrics of an earlier process of the same stage.
        steps = [metric.step for metric in self._pending if metric.key in names]
        if self.client is None and self._jsonl is not None and self._jsonl.exists():
            records = map(json.loads, self._jsonl.read_text(encoding="utf-8").splitlines())
            steps += [record["step"] for record in records if not record.keys().isdisjoint(names)]

        def read(client: MlflowClient, run_id: str) -> None:
            for name in names:
                steps.extend(metric.step for metric in client.get_metric_history(run_id, name))

        self._send(read)
        return max(steps, default=-1)

    def flush(self) -> None:
        """Send pending metrics. If the server does not accept them, they stay pending for a minute."""
        # One request holds whole steps if possible, because MLflow stores a request entirely or not at all.
        while self._pending:
            batch = self._pending[: batch_size(self._pending)]
            if not self._send(partial(log_metrics, metrics=batch)):
                self._next_flush = time.monotonic() + _RETRY_SECONDS
                return
            del self._pending[: len(batch)]
        self._next_flush = time.monotonic() + _FLUSH_SECONDS

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
            action(self.client, self.run_id)
        except (MlflowException, OSError) as error:
            # An invalid request is a defect in the caller: it would fail again later, so it is raised.
            if isinstance(error, MlflowException) and not is_transient(error):
                raise
            if not self._warned:
                reason = redacted(str(error)).splitlines()[0]
                log.warning(
                    "MLflow at %s is unavailable (%s). The stage continues; its log in MLflow may have gaps.",
                    self.uri,
                    reason,
                )
            self._warned = True
            return False
        self._warned = False
        return True
