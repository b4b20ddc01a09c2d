"""The folder through which a training stage and its workers on a machine communicate."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vicur.errors import VicurError
from vicur.stage.events import read_events
from vicur.stage.runner import Context
from vicur.training.metrics import IN_EVERY_RECORD

_RESERVED_BYTES = 1 << 16


@dataclass(frozen=True)
class Task:
    """The task of the workers, as JSON."""

    config: dict[str, Any]
    inputs: dict[str, str]
    output: str  # folder for the student
    device: str  # cpu or cuda
    context: dict[str, Any]  # the fields of the stage's context that JSON can hold, and the id of its MLflow run
    label: str  # label of the stage's events


@dataclass(frozen=True)
class WorkerFolder:
    """The paths in the folder."""

    folder: Path

    @property
    def task(self) -> Path:
        return self.folder / "task.json"

    @property
    def lifeline(self) -> Path:
        return self.folder / "lifeline"  # locked as long as the stage lives

    @property
    def begun(self) -> Path:
        return self.folder / "begun"  # exists once a worker of this machine has joined all others

    @property
    def stop(self) -> Path:
        return self.folder / "stop"  # stops the workers after the current step, once it exists

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"  # progress of rank 0

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"  # records of rank 0, once a checkpoint covers their steps

    @property
    def summary(self) -> Path:
        return self.folder / "summary.json"

    @property
    def error(self) -> Path:
        return self.folder / "error.json"  # of the worker that failed first

    @property
    def reserve(self) -> Path:
        return self.folder / "reserve"  # occupies the disk space that an error report needs if the disk is full

    def clear(self) -> None:
        """Delete the files of an earlier attempt, and reserve space for an error."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in (self.task, self.begun, self.stop, self.events, self.metrics, self.summary, self.error):
            file.unlink(missing_ok=True)
        # Random, since file systems may compress or skip zeros.
        self.reserve.write_bytes(os.urandom(_RESERVED_BYTES))

    def fail(self, error: VicurError) -> bool:
        """Record why this worker failed. Only the first report is kept; later failures are usually its consequence.

        Returns:
            Whether the kept report is this one.
        """
        names = ("problem", "where", "remedy", "exit_code", "retryable")
        report = json.dumps({name: getattr(error, name) for name in names})
        written = self.folder / f"error.{os.getpid()}.json"
        try:
            self.reserve.unlink(missing_ok=True)
            written.write_text(report, encoding="utf-8")
            # A hard link appears complete or not at all, and fails if another worker was first.
            with suppress(FileExistsError):
                os.link(written, self.error)
            written.unlink()
            return self.error.read_text(encoding="utf-8") == report
        except OSError:
            return False


class Relay:
    """Passes rank 0's progress and metrics on to the stage's events and tracker."""

    def __init__(self, folder: WorkerFolder, context: Context) -> None:
        self._folder = folder
        self._context = context
        self._events_read = self._metrics_read = 0

    def forward(self) -> None:
        """Pass on what is new since the last call."""
        if self._folder.events.exists():
            events, self._events_read = read_events(self._folder.events, self._events_read)
            for event in events:
                if event.status == "progress" and event.done is not None and event.total is not None:
                    self._context.events.progress(event.done, event.total, event.text)
        if records := self._new_records():
            self._context.tracker.steps(records, IN_EVERY_RECORD)

    def _new_records(self) -> list[dict[str, Any]]:
        if not self._folder.metrics.exists():
            return []
        with self._folder.metrics.open("rb") as stream:
            stream.seek(self._metrics_read)
            written = stream.read()
        # The worker may be in the middle of a line.
        lines = written[: written.rfind(b"\n") + 1]
        self._metrics_read += len(lines)
        return [json.loads(line) for line in lines.splitlines()]
