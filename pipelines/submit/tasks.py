"""Convert the tasks of a run, as the server reports them, to events for the live view."""

# The server lists every node of the Argo workflow by its display name: drivers, executors, loops and the tasks themselves, without their
# nesting, and nameless records of its cache. The steps are the tasks that the package names. A time that is not set is in the year 1 or
# 1970, a task that an earlier failure prevents from running has no state, and no task has an error's text.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from vicur_pipelines.submit.nodes import DRIVER, iteration_of, pods_of
from vicur_pipelines.submit.packaged import PackagedStep

from vicur.stage.events import Event

if TYPE_CHECKING:
    from kfp_server_api import V2beta1PipelineTaskDetail

_STARTED, _ENDED_WELL, _ENDED_BADLY = (
    ("RUNNING", "PAUSED"),
    ("SUCCEEDED", "SKIPPED"),
    ("FAILED", "CANCELED", "CANCELING"),
)
_SHOWN = (*_STARTED, *_ENDED_WELL, *_ENDED_BADLY)


@dataclass(frozen=True)
class FailedStep:
    """A step that failed, with its pods.

    Attributes:
        task: name of its task in the package.
        nodes: ids of its pods' nodes, the last attempt first.
        started: whether its own container ran. Otherwise the driver, which runs first, failed.
    """

    label: str
    task: str
    nodes: tuple[str, ...]
    started: bool = True


class TaskStates:
    """Last known state of each task of a pipeline.

    A task in a loop is labeled with the method of its iteration. If the methods are not known, it is numbered from the second on.
    """

    def __init__(self, steps: Mapping[str, PackagedStep], methods: Sequence[str] = ()) -> None:
        self._names, self._methods = frozenset(steps), methods
        self._looped = frozenset(name for name, step in steps.items() if step.looped) if methods else frozenset()
        self._labels: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self.failed: list[FailedStep] = []
        """Steps that are failed now, in the order in which they started."""
        self.pod_runs = False
        """Whether a pod of the run is pending or running, as far as the server knows."""
        self.changed = False
        """Whether the last call of :meth:`update` found any task, also of a driver or a loop, in another state than before."""
        self._all: dict[str, str | None] = {}

    def update(self, details: Iterable[V2beta1PipelineTaskDetail]) -> list[Event]:
        """Return events of the tasks whose state has changed since the last call."""
        tasks = sorted(details, key=lambda task: (seconds_of(task.start_time) or float("inf"), task.task_id))
        self.pod_runs = any(_is_pod(task) and task.state in ("PENDING", "RUNNING") for task in tasks)
        before, self._all = self._all, {task.task_id: task.state for task in tasks}
        self.changed = before != self._all
        self.failed = []
        events = []
        for task in tasks:
            name = task.display_name or ""
            driver = name.endswith(DRIVER)
            # A driver is part of its step or loop, and worth mentioning only if it fails: then the step does not start.
            if not (name in self._names or (driver and task.state == "FAILED")):
                continue
            if task.state not in _SHOWN or (name in self._looped and not task.child_tasks):
                # Which iteration a task belongs to is known once its executor exists, at once.
                continue
            label = self._label(task, name.removesuffix(DRIVER), tasks)
            if task.state == "FAILED":
                nodes = tuple(pods_of(task, tasks))
                self.failed.append(FailedStep(label, name.removesuffix(DRIVER), nodes, started=not driver))
            if self._states.get(label) != task.state:
                self._states[label] = task.state
                events.append(_event(label, task, "its driver failed, so it did not start" if driver else ""))
        return events

    def _label(self, task: V2beta1PipelineTaskDetail, name: str, tasks: Sequence[V2beta1PipelineTaskDetail]) -> str:
        if task.task_id not in self._labels:
            iteration = iteration_of(task, tasks, len(self._methods)) if name in self._looped else None
            wanted = label = name if iteration is None else f"{name} {self._methods[iteration]}"
            number = 1
            while label in self._labels.values():
                number += 1
                label = f"{wanted} {number}"
            self._labels[task.task_id] = label
        return self._labels[task.task_id]


def labels_of(steps: Mapping[str, PackagedStep], methods: Sequence[str]) -> list[str]:
    """Return the labels of all steps that a run is expected to have, in reading order."""
    return [
        label
        for name, step in steps.items()
        for label in ([f"{name} {method}" for method in methods] if step.looped and methods else [name])
    ]


def has_exit_step(details: Iterable[V2beta1PipelineTaskDetail]) -> bool:
    """Return whether the exit step of a run will run if the run is terminated now."""
    # Argo runs it once the tasks that it waits for have begun. A run that ends before its first pod has ended has none.
    return any((task.display_name or "").startswith("exit-handler-") and not _is_driver(task) for task in details)


def _is_pod(task: V2beta1PipelineTaskDetail) -> bool:
    return _is_driver(task) or (task.display_name or "").startswith("executor")


def _is_driver(task: V2beta1PipelineTaskDetail) -> bool:
    return (task.display_name or "").partition("(")[0].endswith(DRIVER)


def _event(label: str, task: V2beta1PipelineTaskDetail, text: str) -> Event:
    """Return the event of a task's state, which must be one of those that are shown."""
    began, ended = seconds_of(task.start_time), seconds_of(task.end_time)
    took = None if began is None or ended is None else max(0.0, ended - began)
    if task.state in _STARTED:
        return Event(stage=label, status="started", time=began or 0.0, text="paused" if task.state == "PAUSED" else "")
    if task.state in _ENDED_WELL:
        text = "skipped" if task.state == "SKIPPED" else ""
        return Event(stage=label, status="finished", time=ended or 0.0, text=text, seconds=took)
    text = text or ("terminated" if task.state != "FAILED" else "")
    return Event(stage=label, status="failed", time=ended or 0.0, text=text, seconds=took)


def seconds_of(moment: datetime | None) -> float | None:
    if moment is None or moment.year <= 1970:
        return None
    return moment.timestamp()
