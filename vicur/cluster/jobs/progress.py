"""Report a training's progress in the ``status.trainerStatus`` of its TrainJob, where the server offers that.

Kubeflow Trainer from 2.2 on, with the feature gate ``TrainJobStatus``, gives each pod an address and a token to post to. The
progress is for people: nothing here can fail or delay a training.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import threading
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError

from vicur.stage.events import Events, Status

log = logging.getLogger(__name__)

URL = "KUBEFLOW_TRAINER_SERVER_URL"
CA_FILE = "KUBEFLOW_TRAINER_SERVER_CA_CERT"
TOKEN_FILE = "KUBEFLOW_TRAINER_SERVER_TOKEN"  # noqa: S105 (the name of a variable)

_SECONDS = 10.0  # between two requests, which Trainer wants to be 5 or more
_TIMEOUT_SECONDS = 5.0


class NodeEvents(Events):
    """Context manager: events of a training on a node, which also go to the TrainJob's status if this pod may set it."""

    def __init__(self, stage: str, path: Path | None) -> None:
        super().__init__(stage, path)
        self._first: tuple[int, float] | None = None  # step and time of the first progress of this process
        self._newest: dict[str, Any] | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> NodeEvents:
        if all(os.environ.get(name) for name in (URL, CA_FILE, TOKEN_FILE)):
            self._thread = threading.Thread(target=self._run, name="trainer-status", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            # One more request, for the last step.
            self._thread.join(2 * _TIMEOUT_SECONDS)

    def emit(self, status: Status, text: str = "", *, logged_as: str = "", **fields: Any) -> None:
        """Record an event."""
        super().emit(status, text, logged_as=logged_as, **fields)
        done, total = fields.get("done"), fields.get("total")
        if status == "progress" and done is not None and total:
            self._put(self._progress(done, total))
        elif status in ("finished", "reused") and self._newest is not None:
            # A training may stop early.
            self._put({**self._newest, "progressPercentage": 100, "estimatedRemainingSeconds": 0})

    def _progress(self, done: int, total: int) -> dict[str, Any]:
        now = time.monotonic()
        self._first = self._first or (done, now)
        first, since = self._first
        content: dict[str, Any] = {
            "progressPercentage": 100 * done // total,
            "metrics": [{"name": "step", "value": str(done)}, {"name": "steps", "value": str(total)}],
        }
        if done > first:
            content["estimatedRemainingSeconds"] = round((now - since) / (done - first) * (total - done))
        return content

    def _put(self, content: dict[str, Any]) -> None:
        with self._changed:
            self._newest = {**content, "lastUpdatedTime": datetime.now(UTC).isoformat(timespec="seconds")}
            self._changed.notify_all()

    def _run(self) -> None:
        sent: dict[str, Any] | None = None
        while True:
            with self._changed:
                while self._newest is sent and not self._closed:
                    self._changed.wait()
                newest, closed = self._newest, self._closed
            if newest is not sent and not _post({"trainerStatus": newest}):
                return
            sent = newest
            if closed:
                return
            with self._changed:
                self._changed.wait_for(lambda: self._closed, _SECONDS)


def _post(content: dict[str, Any]) -> bool:
    """Post a status. Returns whether to post again later."""
    try:
        # The kubelet replaces the token every hour.
        token = Path(os.environ[TOKEN_FILE]).read_text(encoding="utf-8").strip()
        request = urllib.request.Request(  # noqa: S310 (the address is Kubeflow Trainer's)
            os.environ[URL],
            json.dumps(content).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        context = ssl.create_default_context(cafile=os.environ[CA_FILE])
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS, context=context):  # noqa: S310
            return True
    except HTTPError as error:
        with error:
            if error.code < 500:
                log.warning("The progress is not in the TrainJob's status: the server responded with %d.", error.code)
                return False
    except (OSError, ValueError) as error:
        log.debug("The TrainJob's status was not updated: %s", error)
    return True
