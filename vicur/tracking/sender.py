"""Send metrics to MLflow from a thread, so that no stage waits for a server. Each metric is stored once, whatever fails meanwhile.

Two facts make this so. MLflow stores a request entirely or not at all, and a metric that it is sent again, with the same time and value,
only once. Records of a training that an earlier process has sent have other times: they are looked up before the first request.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.redaction import redacted
from vicur.tracking.backlog import Backlog, Record
from vicur.tracking.mlflow import environment, is_refusal, is_transient
from vicur.tracking.outage import Outage
from vicur.tracking.records import log_metrics

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

log = logging.getLogger(__name__)

# A request costs about the same with one row as with many, so metrics are collected before they are sent.
_COLLECT_SECONDS = 5.0
_FIRST_RETRY_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 60.0
_RECORDS = 100
_ROWS = 500  # MLflow accepts 1,000 in a request
# MLflow's own retries would block a request for a minute, and its timeout for two, and with it the end of a stage.
ONE_TRY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


class MetricSender:
    """Sends the metrics of one run in the order in which they arrive.

    Args:
        unsent: file for metrics that wait, or that could never be sent.
    """

    def __init__(self, client: MlflowClient, run_id: str, unsent: Path, outage: Outage) -> None:
        self._client, self._run_id, self._outage = client, run_id, outage
        self._backlog = Backlog(unsent)
        self._names: Sequence[str] = ()
        self._stored: int | None = None  # last step of a training that the run has; None if that must be looked up
        self._error: Exception | None = None
        self._refused = self._closed = False
        self._wanted = self._attempted = 0
        self._next, self._pause = time.monotonic() + _COLLECT_SECONDS, _FIRST_RETRY_SECONDS
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, records: Iterable[Record], names: Sequence[str] = ()) -> None:
        """Queue records. This never waits for MLflow.

        Args:
            names: metrics of which each record of a training (``once``) has at least one.

        Raises:
            MlflowException: if MLflow has rejected an earlier record as invalid.
        """
        with self._changed:
            self._raise()
            self._names = names or self._names
            for record in records:
                self._backlog.add(record)
            self._changed.notify_all()
            self._start()

    def flush(self, seconds: float | None = None) -> bool:
        """Send all records now, and return whether this succeeded, after one attempt and at most ``seconds``.

        Raises:
            MlflowException: if MLflow rejects a record as invalid.
        """
        with self._changed:
            self._raise()
            if self._backlog and not self._refused:
                # An earlier attempt may have left records although this one has none.
                self._start()
                self._wanted += 1
                wanted = self._wanted
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._attempted >= wanted or self._is_stopped, seconds)
                self._raise()
            return not self._backlog

    def close(self, seconds: float) -> bool:
        """Send the rest within ``seconds``. Return whether this succeeded; otherwise the records stay in the file, and are reported.

        Raises:
            MlflowException: if MLflow rejects a record as invalid.
        """
        deadline = time.monotonic() + seconds
        try:
            while not self.flush(deadline - time.monotonic()) and not self._refused and time.monotonic() < deadline:
                time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
                self._report_unsent()
        return not self._backlog

    def _report_unsent(self) -> None:
        if self._backlog:
            self._backlog.save()
        if count := len(self._backlog):
            log.warning(
                "MLflow did not get the metrics of %d steps. They are in %s, one JSON object per line.",
                count,
                self._backlog.file,
            )
        if self._backlog.lost:
            log.warning("The metrics of %d steps are lost.", self._backlog.lost)

    def _start(self) -> None:
        if self._thread is not None or self._refused:
            return
        self._thread = threading.Thread(target=self._run, name="mlflow-metrics", daemon=True)
        self._thread.start()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_due():
                    self._changed.wait(max(0.0, self._next - time.monotonic()) if self._backlog else None)
                if self._is_stopped:
                    return
                wanted = self._wanted
            self._attempt()
            with self._changed:
                self._attempted = wanted
                self._changed.notify_all()

    @property
    def _is_stopped(self) -> bool:
        return self._closed or self._refused or self._error is not None

    def _is_due(self) -> bool:
        return (
            self._is_stopped
            or self._wanted > self._attempted
            or (bool(self._backlog) and time.monotonic() >= self._next)
        )

    def _attempt(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            while self._send_oldest():
                self._outage.ends()
                self._pause = _FIRST_RETRY_SECONDS
            self._next = time.monotonic() + _COLLECT_SECONDS
        except Exception as error:  # noqa: BLE001 (a thread that ends silently would lose all later metrics)
            # The request may have been stored although its response was lost.
            self._stored = None
            if isinstance(error, OSError) or (isinstance(error, MlflowException) and is_transient(error)):
                self._outage.begins(error)
                # A random part, so that the stages of a cluster do not all return at once to a server that has just started.
                self._next = time.monotonic() + self._pause * random.Random().uniform(0.75, 1.25)  # noqa: S311
                self._pause = min(2 * self._pause, _LONGEST_RETRY_SECONDS)
            elif isinstance(error, MlflowException) and is_refusal(error):
                reason = redacted(str(error)).splitlines()[0]
                log.error("MLflow refuses the metrics (%s). They are not sent again. The stage continues.", reason)
                self._refused = True
            else:
                # A defect in the caller, which must not go unnoticed.
                self._error = error

    def _send_oldest(self) -> bool:
        """Send as many of the oldest records as fit into a request. Return whether there were any."""
        with self._changed:
            records = self._backlog.oldest(_RECORDS)
        if not records:
            return False
        with environment(**ONE_TRY):
            if self._stored is None and any(record.once for record in records):
                # Records of an earlier attempt come without the names that the training would pass.
                names = self._names or sorted({name for record in records if record.once for name in record.values})
                self._stored = last_step(self._client, self._run_id, names)
            count, rows = _fitting(records, -1 if self._stored is None else self._stored)
            # A record with more metrics than a request takes has to be split.
            for start in range(0, len(rows), _ROWS):
                log_metrics(self._client, self._run_id, rows[start : start + _ROWS])
            if self._stored is not None:
                self._stored = max([self._stored, *(record.step for record in records[:count] if record.once)])
        with self._changed:
            if self._closed:
                return False
            self._backlog.discard(count)
        return True


def last_step(client: MlflowClient, run_id: str, names: Sequence[str]) -> int:
    """Return the last step of a run with any of these metrics; -1 if there is none."""
    return max((each.step for name in names for each in client.get_metric_history(run_id, name)), default=-1)


def _fitting(records: Sequence[Record], stored: int) -> tuple[int, list[Metric]]:
    """Return how many of the first records fit into a request, at least one, and the rows of those that are not ``stored``."""
    from mlflow.entities import Metric

    rows: list[Metric] = []
    for number, record in enumerate(records):
        if record.once and record.step <= stored:
            continue
        if record.once:
            # A training that resumes passes records again that its earlier attempt has left.
            stored = record.step
        new = [Metric(key, value, record.time, record.step) for key, value in record.values.items()]
        if rows and len(rows) + len(new) > _ROWS:
            return number, rows
        rows += new
    return len(records), rows
