"""Passes on what the first worker of a training tells: progress for the live view, metrics for the tracker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vicur.stage.events import read_events
from vicur.stage.runner import Context
from vicur.training.trainer import IN_EACH_RECORD


class Relay:
    """Reads what workers write, where a reader left off.

    Args:
        events: file of events.
        metrics: file of metrics, a JSON line a step. A step is in it once a checkpoint covers it.
        context: where they go to.
    """

    def __init__(self, events: Path, metrics: Path, context: Context) -> None:
        self._events, self._events_read = events, 0
        self._metrics, self._metrics_read = metrics, 0
        self._context = context

    def pass_on(self) -> None:
        """Passes on what is new."""
        if self._events.exists():
            events, self._events_read = read_events(self._events, self._events_read)
            for event in events:
                if event.status == "progress" and event.done is not None and event.total is not None:
                    self._context.events.progress(event.done, event.total, event.text)
        if records := self._records():
            tracker = self._context.tracker
            sent = tracker.last_step(IN_EACH_RECORD)
            for record in records:
                step = int(record.pop("step"))
                if step > sent:
                    tracker.metrics(record, step=step)
            tracker.flush()

    def _records(self) -> list[dict[str, Any]]:
        """Whole lines that are new."""
        if not self._metrics.exists():
            return []
        with self._metrics.open("rb") as stream:
            stream.seek(self._metrics_read)
            written = stream.read()
        lines = written[: written.rfind(b"\n") + 1]
        self._metrics_read += len(lines)
        return [json.loads(line) for line in lines.splitlines()]
