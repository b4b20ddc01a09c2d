"""Ids of the nodes of a run's Argo workflow, by which the server stores the logs of pods."""

# The server lists a task with the ids of the nodes that follow it, but not with its own. An id is the workflow's name and the FNV-1a hash
# of the node's name, and a node's name starts with the name of the node around it. Such a hash can be continued, so the id of the node
# "train.executor(0)" follows from that of "train.executor".

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfp_server_api import V2beta1PipelineTaskDetail

DRIVER = "-driver"
_PRIME = 0x01000193
_ID = re.compile(r"(?P<workflow>.+)-(?P<digest>\d+)")
_MOST_ATTEMPTS = 20
_MOST_ATTEMPTS_IN_LOOPS = 3


def pods_of(task: V2beta1PipelineTaskDetail, tasks: Iterable[V2beta1PipelineTaskDetail]) -> list[str]:
    """Return the ids of a task's pods, the last attempt first. ``tasks`` are all tasks of the run."""
    known = {child for each in tasks for child in _children(each)}
    if (task.display_name or "").endswith(DRIVER):
        # A driver is followed by the node of its task.
        own = {inner_id(child, DRIVER) for child in _children(task)} & known
        return [pod for each in sorted(filter(None, own)) for pod in _leaves(each, known)]
    return [pod for child in _children(task) for pod in _leaves(child, known)]


def iteration_of(
    task: V2beta1PipelineTaskDetail, tasks: Iterable[V2beta1PipelineTaskDetail], iterations: int
) -> int | None:
    """Return the index of the loop's iteration that a task belongs to, of the first ``iterations``; ``None`` outside of a loop."""
    # A driver is followed by the node of its task, and a task by its executor.
    own, name = set(_children(task)), (task.display_name or "").removesuffix(DRIVER)
    drivers = [each for each in tasks if (each.display_name or "").partition("(")[0] == "iteration-driver"]
    for group in (child for driver in drivers for child in _children(driver)):
        for index in range(iterations):
            if own & set(_in_iteration(inner_id(group, f"({index}:{index})"), name)):
                return index
    return None


def _in_iteration(iteration: str, name: str) -> Iterator[str]:
    """Yield the ids that a task in an iteration of a loop may be followed by."""
    # On a stock installation each node may be retried, and each attempt is another node.
    for item in _attempted(iteration, ".iteration-item"):
        for own in _attempted(item, f".{name}"):
            yield own
            yield inner_id(own, ".executor")


def _attempted(identifier: str, suffix: str) -> Iterator[str]:
    for attempt in ("", *(f"({number})" for number in range(_MOST_ATTEMPTS_IN_LOOPS))):
        inner = inner_id(inner_id(identifier, attempt), suffix)
        yield inner


def inner_id(identifier: str, suffix: str) -> str:
    """Return the id of the node whose name is that of ``identifier`` with ``suffix``; empty if it is not such an id."""
    match = _ID.fullmatch(identifier)
    if match is None:
        return ""
    digest = int(match["digest"])
    for byte in suffix.encode():
        digest = ((digest ^ byte) * _PRIME) & 0xFFFFFFFF
    return f"{match['workflow']}-{digest}"


def _leaves(identifier: str, known: Collection[str]) -> Iterator[str]:
    """Yield the pods at or below a node: attempts of a retried node, or the executor of a step."""
    attempts = [inner_id(identifier, f"({number})") for number in reversed(range(_MOST_ATTEMPTS))]
    inner = [each for each in (*attempts, inner_id(identifier, ".executor")) if each in known]
    if not inner:
        yield identifier
    for each in inner:
        yield from _leaves(each, known)


def _children(task: V2beta1PipelineTaskDetail) -> list[str]:
    return [child.pod_name for child in task.child_tasks or () if child.pod_name]
