"""Progress events of a stage: one JSON object a line, read by the live view and kept as the run's event log.

A stage appends to the file named by ``VICUR_EVENTS``, which the local run sets, and logs the same through ``logging``.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel

log = logging.getLogger(__name__)

# A training of days would fill the log that Kubeflow Pipelines keeps of each step.
_LOG_SECONDS = 10.0
_FILE_SECONDS = 0.5

Status = Literal["started", "progress", "finished", "reused", "failed"]


class Event(BaseModel):
    """One line of the event log."""

    stage: str
    """Label of the step: the stage's name, followed by its method if it has one (``train vicur``)."""
    status: Status
    time: float
    """Seconds since the epoch."""
    text: str = ""
    """Key figure of a finished step, progress message or error message."""
    done: int | None = None
    total: int | None = None
    seconds: float | None = None
    """Duration of a step that has ended."""
    output: str | None = None
    """Path of the result of a successful step."""
    summary: dict[str, Any] | None = None
    """Summary of a successful step."""
    retryable: bool | None = None
    """A retry of a failed step may succeed."""


class Events:
    """Writes the events of one stage to the log and, if a path is given, to the event file."""

    def __init__(self, stage: str, path: Path | None) -> None:
        self.stage = stage
        self._path = path
        self._last_progress = self._last_logged = float("-inf")
        self._held_back: str | None = None

    @classmethod
    def from_environment(cls, stage: str) -> Self:
        """Create the events of ``stage``, written to the file in ``VICUR_EVENTS`` if that is set."""
        path = os.environ.get("VICUR_EVENTS")
        return cls(stage, Path(path) if path else None)

    def emit(self, status: Status, text: str = "", *, logged_as: str = "", **fields: Any) -> None:
        """Record an event. ``logged_as`` replaces the status in the log."""
        event = Event(stage=self.stage, status=status, time=time.time(), text=text, **fields)
        self._log(event, logged_as or status)
        if self._path is None:
            return
        line = event.model_dump_json(exclude_none=True) + "\n"
        # One write() to a file opened with O_APPEND is atomic: the lines of concurrent steps do not mix.
        stream = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(stream, line.encode())
        finally:
            os.close(stream)

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Record progress: in the event file at most twice a second, in the log every ten seconds. The last step is always recorded."""
        # An event per example would slow down the stage.
        now = time.monotonic()
        if done < total and now - self._last_progress < _FILE_SECONDS:
            return
        self._last_progress = now
        self.emit("progress", text, done=done, total=total)

    def _log(self, event: Event, status: str) -> None:
        if event.done is None or event.total is None:
            self._log_held_back()
            log.info("%s: %s %s", self.stage, status, event.text)
            return
        self._held_back = f"{event.done}/{event.total} {event.text}".rstrip()
        if event.done == event.total or time.monotonic() - self._last_logged >= _LOG_SECONDS:
            self._log_held_back()

    def _log_held_back(self) -> None:
        # Also before another event: a stage that stops early has a last step, too.
        if self._held_back is not None:
            log.info("%s: progress %s", self.stage, self._held_back)
            self._held_back, self._last_logged = None, time.monotonic()


def read_events(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Read the complete lines of the event log from byte ``offset`` on. Return them with the offset for the next call."""
    if not path.exists():
        return [], offset
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read()
    # The last line may still be incomplete. It is left for the next call.
    end = data.rfind(b"\n") + 1
    return [Event.model_validate(json.loads(line)) for line in data[:end].splitlines() if line], offset + end
