"""What a stage tells while it works: one JSON line an event, for the live view and for whoever reads the log later.

A stage's process appends to the file that ``VICUR_EVENTS`` names (the local run sets it) and logs the same through
``logging``; nothing here knows who reads it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

log = logging.getLogger(__name__)

Status = Literal["started", "progress", "finished", "reused", "failed"]


class Event(BaseModel):
    """One line of the event log."""

    stage: str
    """Label of the step: the stage's name, with its method where it has one (``train vicur``)."""
    status: Status
    time: float
    """Seconds since the epoch."""
    text: str = ""
    """Key figure of a finished step, a progress line, or what went wrong."""
    done: int | None = None
    total: int | None = None
    seconds: float | None = None
    """How long a step that has ended took."""
    output: str | None = None
    """Where the result of a step that has ended well lies."""
    summary: dict[str, Any] | None = None
    """The stage's summary, where it has ended well."""
    retryable: bool | None = None
    """Whether doing a failed step again may help."""


class Events:
    """Appends the events of one stage to a file, or only logs them where there is none."""

    def __init__(self, stage: str, path: Path | None) -> None:
        self.stage = stage
        self._path = path
        self._last_progress = 0.0

    @classmethod
    def from_environment(cls, stage: str) -> Events:
        """Events for ``stage`` in the file that ``VICUR_EVENTS`` names, if it names one."""
        path = os.environ.get("VICUR_EVENTS")
        return cls(stage, Path(path) if path else None)

    def emit(self, status: Status, text: str = "", **fields: Any) -> None:
        """Records an event. A line is appended in one system call, so that steps side by side do not mix."""
        event = Event(stage=self.stage, status=status, time=time.time(), text=text, **fields)
        log.info("%s: %s %s", self.stage, status, text)
        if self._path is None:
            return
        line = event.model_dump_json(exclude_none=True) + "\n"
        stream = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(stream, line.encode())
        finally:
            os.close(stream)

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Records progress, at most twice a second; the last step is always told."""
        now = time.monotonic()
        if done < total and now - self._last_progress < 0.5:
            return
        self._last_progress = now
        self.emit("progress", text, done=done, total=total)


def read_events(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Whole lines of the event log from byte ``offset`` on, and the offset to go on from."""
    if not path.exists():
        return [], offset
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read()
    end = data.rfind(b"\n") + 1
    return [Event.model_validate(json.loads(line)) for line in data[:end].splitlines() if line], offset + end
