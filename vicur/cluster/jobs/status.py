"""Status of a TrainJob and its pods, derived from the objects that the server returns. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from vicur.cluster.jobs.api import node_of, role_of

Json = Mapping[str, Any]


class Phase(Enum):
    """Phase of a job."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True)
class JobStatus:
    """Phase of a job, with a description for people. ``progress`` is that of the training, if the job has it."""

    phase: Phase
    description: str
    progress: str = ""


def job_status(job: Json, pods: Sequence[Json], nodes: int, queue: str, servers: int = 0) -> JobStatus:
    """Return the status of a TrainJob with ``nodes`` nodes and ``servers`` servers, which waits in ``queue`` if that is not empty."""
    true = conditions(job)
    if "Failed" in true:
        return JobStatus(Phase.FAILED, f"failed ({_reason(true['Failed'])})")
    if "Complete" in true:
        return JobStatus(Phase.COMPLETE, "complete")
    if job["spec"].get("suspend"):
        return JobStatus(Phase.QUEUED, f"waiting in the queue {queue}" if queue else "suspended")
    alive = [role_of(pod) == "node" for pod in pods if pod["status"].get("phase") in ("Running", "Succeeded")]
    running, serving = sum(alive), len(alive) - sum(alive)
    if running < nodes or serving < servers:
        reasons = "; ".join(filter(None, map(_pending_reason, pods)))
        return JobStatus(
            Phase.STARTING,
            f"{running} of {nodes} node{'s are' if nodes > 1 else ' is'} running"
            + (f", {serving} of {servers} server{'s are' if servers > 1 else ' is'} running" if servers else "")
            + (f" ({reasons})" if reasons else ""),
        )
    description = f"all {nodes} nodes are running" if nodes > 1 else "the node is running"
    if servers:
        description += f", with {servers} server{'s' if servers > 1 else ''}"
    return JobStatus(Phase.RUNNING, description, training_progress(job))


def training_progress(job: Json) -> str:
    """Return the progress in a job's ``status.trainerStatus``, which Kubeflow Trainer has from 2.2 on with a feature gate; else ``""``."""
    status = job.get("status", {}).get("trainerStatus") or {}
    metrics = {each["name"]: each["value"] for each in status.get("metrics") or ()}
    parts = []
    if "step" in metrics and "steps" in metrics:
        parts.append(f"step {metrics['step']} of {metrics['steps']}")
    if (percentage := status.get("progressPercentage")) is not None:
        parts.append(f"{percentage} %")
    if (seconds := status.get("estimatedRemainingSeconds")) is not None:
        parts.append(f"about {_duration(seconds)} left")
    return ", ".join(parts)


def _duration(seconds: int) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def conditions(job: Json) -> dict[str, Json]:
    """Return the conditions of a job that are true, by type."""
    listed = job.get("status", {}).get("conditions") or ()
    return {each["type"]: each for each in listed if each["status"] == "True"}


@dataclass(frozen=True)
class PodFailure:
    """Failure of a pod.

    Attributes:
        role: ``node``, or the name of its servers.
        code: exit status of its container; ``None`` if no container had started.
        reason: reason in one word (``Error``, ``OOMKilled``, ``Evicted``).
        disrupted: the cluster removed the pod, so the training is not at fault.
    """

    pod: str
    node: int
    role: str
    code: int | None
    reason: str
    disrupted: bool
    at: str

    @property
    def place(self) -> str:
        return f"{self.role}{'' if self.role == 'node' else ' server'} {self.node}"


def pod_failures(pods: Sequence[Json]) -> list[PodFailure]:
    """Return the failures of pods, earliest first."""
    failures = [failure for failure in map(_failure, pods) if failure is not None]
    # The server's times are strings that sort.
    return sorted(failures, key=lambda failure: (failure.at, failure.node))


def _failure(pod: Json) -> PodFailure | None:
    status = pod["status"]
    ended = [terminated for each in _containers(pod) if (terminated := each["state"].get("terminated"))]
    # A sidecar, such as a service mesh's proxy, may have succeeded although the training failed.
    terminated = max(ended, key=lambda each: bool(each["exitCode"]), default=None)
    if status.get("phase") != "Failed" and not (terminated and terminated["exitCode"]):
        return None
    disrupted = any(
        each["type"] == "DisruptionTarget" and each["status"] == "True" for each in status.get("conditions") or ()
    )
    disrupted = disrupted or status.get("reason") in ("Evicted", "NodeLost", "Preempting", "Shutdown", "Terminated")
    # A kubelet that rejects a pod (UnexpectedAdmissionError, OutOfcpu) starts none of its containers.
    disrupted = disrupted or not status.get("containerStatuses")
    reason = status.get("reason") or (terminated or {}).get("reason") or "Failed"
    code = terminated["exitCode"] if terminated else None
    at = str((terminated or {}).get("finishedAt") or "")
    return PodFailure(pod["metadata"]["name"], node_of(pod), role_of(pod), code, reason, disrupted, at)


def _containers(pod: Json) -> list[Json]:
    return [{"state": {}, **each} for each in pod["status"].get("containerStatuses") or ()]


def _pending_reason(pod: Json) -> str | None:
    if pod["status"].get("phase") != "Pending":
        return None
    for each in _containers(pod):
        if waiting := each["state"].get("waiting"):
            return f"{_place(pod)}: {_reason(waiting)}"
    for condition in pod["status"].get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{_place(pod)}: {_reason(condition)}"
    return None


def _place(pod: Json) -> str:
    role = role_of(pod)
    return f"{role}{'' if role == 'node' else ' server'} {node_of(pod)}"


def _reason(condition: Json) -> str:
    return ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))
