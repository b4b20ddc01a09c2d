"""What a job and its pods say about how far it is. Pure functions of what the server tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from vicur.cluster.jobs.api import node_of

Json = Mapping[str, Any]


class Phase(Enum):
    """How far a job is."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True)
class JobStatus:
    """How far a job is, and in words."""

    phase: Phase
    words: str


def standing(job: Json, pods: Sequence[Json], nodes: int, queue: str) -> JobStatus:
    """How far a job is.

    Args:
        job: the TrainJob.
        pods: its pods.
        nodes: how many it is to have.
        queue: the queue that it waits in, if it has one.
    """
    said = conditions(job)
    if "Failed" in said:
        return JobStatus(Phase.FAILED, f"failed ({_reason(said['Failed'])})")
    if "Complete" in said:
        return JobStatus(Phase.COMPLETE, "complete")
    if job["spec"].get("suspend"):
        return JobStatus(Phase.QUEUED, f"waits in the queue {queue}" if queue else "is suspended")
    running = sum(pod["status"].get("phase") in ("Running", "Succeeded") for pod in pods)
    if running < nodes:
        hindered = "; ".join(filter(None, map(_hindrance, pods)))
        return JobStatus(Phase.STARTING, f"{running} of {nodes} nodes run" + (f" ({hindered})" if hindered else ""))
    return JobStatus(Phase.RUNNING, f"all {nodes} nodes run")


def conditions(job: Json) -> dict[str, Json]:
    """Conditions of a job that are true, by type."""
    stated = job.get("status", {}).get("conditions") or ()
    return {each["type"]: each for each in stated if each["status"] == "True"}


@dataclass(frozen=True)
class PodEnd:
    """How a pod has ended badly.

    Attributes:
        pod: its name.
        node: its node's number.
        code: exit status of its container; none where it had none.
        reason: in one word (``Error``, ``OOMKilled``, ``Evicted``).
        disrupted: whether the cluster took it away.
        at: when it ended, as the server writes times.
    """

    pod: str
    node: int
    code: int | None
    reason: str
    disrupted: bool
    at: str


def bad_ends(pods: Sequence[Json]) -> list[PodEnd]:
    """Pods that have ended badly, in the order in which they did."""
    ends = [end for end in map(_bad_end, pods) if end is not None]
    return sorted(ends, key=lambda end: (end.at, end.node))


def _bad_end(pod: Json) -> PodEnd | None:
    status = pod["status"]
    ended = [stopped for each in _containers(pod) if (stopped := each["state"].get("terminated"))]
    # A proxy beside the training may have ended well.
    stopped = max(ended, key=lambda each: bool(each["exitCode"]), default=None)
    disrupted = any(
        each["type"] == "DisruptionTarget" and each["status"] == "True" for each in status.get("conditions") or ()
    )
    disrupted = disrupted or status.get("reason") in ("Evicted", "NodeLost", "Preempting", "Shutdown", "Terminated")
    # A kubelet that turns a pod away (``UnexpectedAdmissionError``, ``OutOfcpu``) starts no container of it.
    disrupted = disrupted or not status.get("containerStatuses")
    if status.get("phase") != "Failed" and not (stopped and stopped["exitCode"]):
        return None
    reason = status.get("reason") or (stopped or {}).get("reason") or "Failed"
    code = stopped["exitCode"] if stopped else None
    at = str((stopped or {}).get("finishedAt") or "")
    return PodEnd(pod["metadata"]["name"], node_of(pod), code, reason, disrupted, at)


def _containers(pod: Json) -> list[Json]:
    return [{"state": {}, **each} for each in pod["status"].get("containerStatuses") or ()]


def _hindrance(pod: Json) -> str | None:
    """Why a pod does not run yet, where it is known."""
    if pod["status"].get("phase") != "Pending":
        return None
    for each in _containers(pod):
        if waiting := each["state"].get("waiting"):
            return f"node {node_of(pod)}: {_reason(waiting)}"
    for condition in pod["status"].get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"node {node_of(pod)}: {_reason(condition)}"
    return None


def _reason(stated: Json) -> str:
    return ": ".join(filter(None, (stated.get("reason"), stated.get("message"))))
