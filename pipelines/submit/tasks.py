"""What a server tells of a run's tasks, as the events that the live view shows.

The server lists every node of the Argo workflow below its display name: drivers, executors, loops and the tasks themselves, without
saying which is inside which. The tasks are those that the package names. What is not set arrives as a time in the year 1 or 1970.
"""

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
    """Keeps what was told of each task, so that only news comes out.

    Args:
        names: the tasks of the pipeline. Iterations of a loop have the name of their task with a number from the second on.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._labels: dict[str, str] = {}
        self._told: dict[str, str] = {}

    def news(self, details: Iterable[V2beta1PipelineTaskDetail]) -> list[Event]:
        """Events of the tasks whose state is another than when last asked."""
        tasks = [task for task in details if task.display_name in self._names]
        events = []
        for task in sorted(tasks, key=lambda task: (seconds_of(task.start_time) or float("inf"), task.task_id)):
            label = self._label(task)
            event = _event(label, task)
            if event is not None and self._told.get(label) != task.state:
                self._told[label] = task.state
                events.append(event)
        return events

    def _label(self, task: V2beta1PipelineTaskDetail) -> str:
        if task.task_id not in self._labels:
            before = sum(label.split(" ")[0] == task.display_name for label in self._labels.values())
            self._labels[task.task_id] = f"{task.display_name} {before + 1}" if before else task.display_name
        return self._labels[task.task_id]


def _event(label: str, task: V2beta1PipelineTaskDetail) -> Event | None:
    """What a task's state says to a person; nothing while it waits, or where a failure before it left it out."""
    began, ended = seconds_of(task.start_time), seconds_of(task.end_time)
    took = None if began is None or ended is None else max(0.0, ended - began)
    if task.state in _STARTED:
        return Event(stage=label, status="started", time=began or 0.0, text="paused" if task.state == "PAUSED" else "")
    if task.state in ("SUCCEEDED", "SKIPPED"):
        text = "skipped" if task.state == "SKIPPED" else ""
        return Event(stage=label, status="finished", time=ended or 0.0, text=text, seconds=took)
    if task.state in _ENDED_BADLY:
        told = redacted(task.error.message) if task.error is not None and task.error.message else ""
        text = told or ("terminated" if task.state != "FAILED" else "")
        return Event(stage=label, status="failed", time=ended or 0.0, text=text, seconds=took)
    return None


def seconds_of(moment: datetime | None) -> float | None:
    """Seconds since the epoch; ``None`` where the server has no time and says 1970 or earlier."""
    if moment is None or moment.year <= 1970:
        return None
    return moment.timestamp()
