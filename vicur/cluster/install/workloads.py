"""States of an overlay's workloads (Deployments, StatefulSets, Jobs), with the reason why one is not ready."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vicur.cluster.install.kubectl import Object
from vicur.cluster.install.manifests import title
from vicur.redaction import redacted

KINDS = ("Deployment", "StatefulSet", "Job")
WEIGHTS = "vicur-models"
"""Claim of the staged weights, which an installation does not contain."""
NO_POD = "no pod yet"
"""Reason of a workload whose controller has not created a pod, and has not said why."""
_STARTING = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True)
class State:
    """State of a workload.

    Attributes:
        reason: why it is not ready; empty if it is.
        failed: it will never be ready.
        awaited: an installation waits for it. Servers that read staged weights cannot start before they are staged.
    """

    title: str
    ready: int
    total: int
    reason: str = ""
    failed: bool = False
    awaited: bool = True

    @property
    def is_ready(self) -> bool:
        return not self.reason


def states(manifests: list[Object], found: list[Object]) -> list[State]:
    """Return the states of an overlay's workloads.

    Args:
        manifests: objects of the overlay.
        found: workloads, pods and events of the cluster.
    """
    present = {title(each): each for each in found}
    related = [each for each in found if each["kind"] in ("Pod", "Event")]
    return [_state(each, present.get(title(each)), related) for each in manifests if each["kind"] in KINDS]


def _state(manifest: Object, found: Object | None, related: list[Object]) -> State:
    name, pod = title(manifest), manifest["spec"]["template"]["spec"]
    awaited = not any(v.get("persistentVolumeClaim", {}).get("claimName") == WEIGHTS for v in pod.get("volumes", []))
    total = int(manifest["spec"].get("completions" if manifest["kind"] == "Job" else "replicas", 1))
    if found is None:
        return State(name, 0, total, "not created yet", awaited=awaited)
    status = found.get("status", {})
    if manifest["kind"] == "Job":
        ready, failed = int(status.get("succeeded", 0)), _condition(found, "Failed")
        if failed is not None:
            return State(name, ready, total, _joined(failed), failed=True, awaited=awaited)
    else:
        # The status of an earlier generation says nothing about the current one.
        current = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
        ready = min(int(status.get("readyReplicas", 0)), int(status.get("updatedReplicas", 0))) if current else 0
    # A job that is complete has no pods any more once they are cleaned up; its status is what counts.
    if ready >= total:
        return State(name, ready, total, awaited=awaited)
    own = [each for each in related if each["kind"] == "Pod" and _owns(found, each)]
    # Of a rolling update, the newest pods show the problem.
    reasons = [_pod_reason(each) for each in sorted(own, key=_created, reverse=True)]
    reason = next((each for each in reasons if each), "") or _controller_reason(found, own, related)
    return State(name, ready, total, redacted(reason), awaited=awaited)


def _owns(workload: Object, pod: Object) -> bool:
    labels = pod["metadata"].get("labels", {})
    if workload["kind"] == "Job":
        return bool(labels.get("batch.kubernetes.io/job-name") == workload["metadata"]["name"])
    return bool(workload["spec"]["selector"]["matchLabels"].items() <= labels.items())


def _created(pod: Object) -> str:
    return str(pod["metadata"].get("creationTimestamp", ""))


def _condition(found: Object, kind: str, status: str = "True") -> Object | None:
    conditions = found.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind and each["status"] == status), None)


def _joined(condition: Object) -> str:
    return ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))


def _pod_reason(pod: Object) -> str:
    """Return why a pod is not ready; empty if nothing is known."""
    unscheduled = _condition(pod, "PodScheduled", "False")
    if unscheduled is not None:
        return _joined(unscheduled)
    return next(_container_reasons(pod), "")


def _container_reasons(pod: Object) -> Iterator[str]:
    status = pod.get("status", {})
    starting = ""
    for each in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        state, last = each.get("state", {}), each.get("lastState", {}).get("terminated", {})
        if waiting := state.get("waiting"):
            if waiting.get("reason") in _STARTING:
                starting = waiting["reason"]
            else:
                code = f" (last exit status {last['exitCode']})" if "exitCode" in last else ""
                yield _joined(waiting) + code
        elif (ended := state.get("terminated")) and ended.get("exitCode"):
            yield f"{ended.get('reason') or 'Error'}: exit status {ended['exitCode']}"
        elif "running" in state and not each.get("ready"):
            starting = "running, not ready yet"
    if starting:
        yield starting


def _controller_reason(found: Object, pods: list[Object], related: list[Object]) -> str:
    """Return why a controller creates no pods, such as an exceeded quota."""
    for kind, status in (("ReplicaFailure", "True"), ("Progressing", "False")):
        condition = _condition(found, kind, status)
        if condition is not None:
            return _joined(condition)
    if pods:
        return "starting"
    # StatefulSets and jobs report a rejected pod only in events.
    own = (found["kind"], found["metadata"]["name"])
    events = [each for each in related if each["kind"] == "Event" and _subject(each) == own]
    return _joined(events[-1]) if events else NO_POD


def _subject(event: Object) -> tuple[str, str]:
    subject = event["involvedObject"]
    return str(subject.get("kind")), str(subject.get("name"))
