"""The tasks of a run as the server 2.17 reports them: one per node of the Argo workflow, recorded from a real server.

A test names the steps; :func:`tasks_of` adds what the server adds: the workflow itself, drivers, executors, their attempts, the DAGs around
them, and the ids of nodes. The tests of this folder compare its answers with the recordings in ``recorded/``.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

UNSET = datetime(1, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BEGAN = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
WORKFLOW = "vicur-cluster-nqfbr"
_OUTER, _EXIT, _LOOP = "exit-handler-1", "exit-handler-1.onExit", "for-loop-1"
_ENDED = ("SUCCEEDED", "FAILED", "SKIPPED")

Json = dict[str, Any]


@dataclass(frozen=True)
class StepNode:
    """A step of a run. Times are seconds from the run's start.

    Attributes:
        state: state of its task; ``None`` if an earlier failure keeps it from starting.
        iteration: index of the loop's iteration that it belongs to.
        cached: whether its result comes from the cache, so that no container runs.
        attempts: number of its pods.
        driver: state of its driver, a pod that runs first.
    """

    name: str
    state: str | None
    began: float | None = 0.0
    took: float | None = None
    iteration: int | None = None
    cached: bool = False
    attempts: int = 1
    driver: str = "SUCCEEDED"

    @property
    def path(self) -> str:
        """Name of its node, which contains those of the nodes around it."""
        if self.name == "outcome":
            return f"{WORKFLOW}.root.{_EXIT}.{self.name}"
        loop = "" if self.iteration is None else f".{_LOOP}.{_iteration(self.iteration)}.iteration-item"
        return f"{WORKFLOW}.root.{_OUTER}{loop}.{self.name}"


node = StepNode


def node_id(path: str) -> str:
    """Return the id that Argo gives to a node: the workflow and the FNV-1a hash of the node's name."""
    digest = 0x811C9DC5
    for byte in path.encode():
        digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{WORKFLOW}-{digest}"


def tasks_of(steps: list[StepNode], state: str) -> list[Json]:
    """Return the tasks of a run in ``state``. Like the server, in no order that means anything."""
    if not steps:
        return []
    ended = state in _ENDED
    tasks = [_task(WORKFLOW, WORKFLOW, state, 0, 1 if ended else None, ["root-driver"])]
    tasks += _dag(f"{WORKFLOW}.root", state, ended, [_OUTER + "-driver"])
    for path, inner in _dags(steps).items():
        children = [f"{step.name}-driver" for step in inner]
        if path.endswith(f".{_LOOP}"):
            children = [_iteration(step.iteration) for step in inner if step.iteration is not None]
        tasks += _dag(path, _dag_state(inner, ended), ended, children)
    for step in steps:
        tasks += _step(step)
    return sorted(tasks, key=lambda task: task["task_id"])


def _dags(steps: list[StepNode]) -> dict[str, list[StepNode]]:
    """Return the DAGs around the steps, each with all steps below it."""
    below: dict[str, list[StepNode]] = {}
    for step in steps:
        parts = step.path.removeprefix(f"{WORKFLOW}.root.").replace(_EXIT, "\0").split(".")[:-1]
        for length in range(1, len(parts) + 1):
            path = ".".join([WORKFLOW, "root", *parts[:length]]).replace("\0", _EXIT)
            below.setdefault(path, []).append(step)
    return below


def _dag_state(steps: list[StepNode], ended: bool) -> str:
    if any(step.state == "FAILED" or step.driver == "FAILED" for step in steps):
        return "FAILED"
    # KFP writes a DAG's state only when a launcher has run a container in it.
    return "RUNNING" if not ended or all(step.cached for step in steps) else "SUCCEEDED"


def _dag(path: str, state: str, ended: bool, children: list[str]) -> list[Json]:
    name = path.removeprefix(f"{WORKFLOW}.").removeprefix("root.")
    name = name if name == _EXIT else name.rpartition(".")[2]
    took = 1 if ended else None
    if name == _LOOP:
        # A loop has one driver, followed by a group with all its iterations.
        group, iterations = f"{path}.iteration-iterations", sorted(set(children))
        return [
            _task(path, name, state, 1, took, ["iteration-driver"]),
            _task(f"{path}.iteration-driver", "iteration-driver", "SUCCEEDED", 0, 1, [], sibling=group),
            _task(group, "iteration-iterations", state, 1, took, iterations, parent=path),
        ]
    if name.startswith("iteration-iterations"):
        return [_task(path, name, state, 1, took, ["iteration-item-driver"])]
    tasks = [_task(path, name, state, 1, took, children)]
    if name != _EXIT:
        tasks.append(_task(f"{path}-driver", f"{name}-driver", "SUCCEEDED", 0, 1, [], sibling=path))
    return tasks


def _step(step: StepNode) -> list[Json]:
    path, name = step.path, step.name
    began = step.began or 0
    tasks = [_task(f"{path}-driver", f"{name}-driver", step.driver, max(0, began - 1), 1, [], sibling=path)]
    if step.state is None:
        # Argo's "Omitted": no state, and times that are equal.
        return [*tasks, _task(path, name, None, began, 0, ["executor"])]
    executor = f"{path}.executor"
    tasks.append(_task(path, name, step.state, step.began, step.took, ["executor"]))
    if step.cached:
        return [*tasks, _task(executor, "executor", "SKIPPED", began, 0, [])]
    attempts = [f"({number})" for number in range(step.attempts)]
    tasks.append(
        _task(executor, "executor", step.state, step.began, step.took, [f"executor{each}" for each in attempts], path)
    )
    for attempt in attempts:
        last = attempt == attempts[-1]
        tasks.append(
            _task(
                executor + attempt,
                f"executor{attempt}",
                step.state if last else "FAILED",
                step.began,
                step.took if last else 1,
                [],
            )
        )
    return tasks


def _task(
    path: str,
    name: str,
    state: str | None,
    began: float | None,
    took: float | None,
    children: list[str],
    parent: str = "",
    sibling: str = "",
) -> Json:
    ended = None if began is None or took is None else began + took
    task: Json = {
        "task_id": str(uuid.uuid5(uuid.NAMESPACE_OID, path)),
        "display_name": name,
        "create_time": BEGAN,
        "start_time": _moment(began),
        "end_time": _moment(ended),
        "state_history": [{"update_time": _moment(began), **({"state": state} if state else {})}],
    }
    if state:
        task["state"] = state
    ids = [node_id(sibling)] if sibling else [node_id(f"{parent or path}.{child}") for child in children]
    if ids:
        task["child_tasks"] = [{"pod_name": each} for each in ids]
    return task


def _iteration(index: int) -> str:
    return f"iteration-iterations({index}:{index})"


def _moment(seconds: float | None) -> datetime:
    return UNSET if seconds is None else datetime.fromtimestamp(BEGAN.timestamp() + seconds, UTC)
