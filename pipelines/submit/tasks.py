"""Convert the tasks of a run, as the server reports them, to events for the live view."""

# The server lists every node of the Argo workflow by its display name: drivers, executors, loops and the tasks themselves, without their
# nesting. The steps are the tasks that the package names. A time that is not set is in the year 1 or 1970.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from vicur.redaction import redacted
from vicur.stage.events import Event

if TYPE_CHECKING:
    from kfp_server_api import V2beta1PipelineTaskDetail

_STARTED, _ENDED_BADLY = ("RUNNING", "PAUSED"), ("FAILED", "CANCELED", "CANCELING")


class TaskStates:
    """Last known state of each task of a pipeline. From its second iteration in a loop on, a task is labeled with a number."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._labels: dict[str, str] = {}
        self._states: dict[str, str] = {}

    def update(self, details: Iterable[V2beta1PipelineTaskDetail]) -> list[Event]:
        """Return events of the tasks whose state has changed since the last call."""
        tasks = [task for task in details if task.display_name in self._names]
        events = []
        for task in sorted(tasks, key=lambda task: (seconds_of(task.start_time) or float("inf"), task.task_id)):
            label = self._label(task)
            event = _event(label, task)
            if event is not None and self._states.get(label) != task.state:
                self._states[label] = task.state
                events.append(event)
        return events

    def _label(self, task: V2beta1PipelineTaskDetail) -> str:
        if task.task_id not in self._labels:
            before = sum(label.split(" ")[0] == task.display_name for label in self._labels.values())
            self._labels[task.task_id] = f"{task.display_name} {before + 1}" if before else task.display_name
        return self._labels[task.task_id]


def _event(label: str, task: V2beta1PipelineTaskDetail) -> Event | None:
    """Return the event of a task's state, or ``None`` while it waits or if an earlier failure prevents it from running."""
    began, ended = seconds_of(task.start_time), seconds_of(task.end_time)
    took = None if began is None or ended is None else max(0.0, ended - began)
    if task.state in _STARTED:
        return Event(stage=label, status="started", time=began or 0.0, text="paused" if task.state == "PAUSED" else "")
    if task.state in ("SUCCEEDED", "SKIPPED"):
        text = "skipped" if task.state == "SKIPPED" else ""
        return Event(stage=label, status="finished", time=ended or 0.0, text=text, seconds=took)
    if task.state in _ENDED_BADLY:
        message = redacted(task.error.message) if task.error is not None and task.error.message else ""
        text = message or ("terminated" if task.state != "FAILED" else "")
        return Event(stage=label, status="failed", time=ended or 0.0, text=text, seconds=took)
    return None


def seconds_of(moment: datetime | None) -> float | None:
    if moment is None or moment.year <= 1970:
        return None
    return moment.timestamp()
