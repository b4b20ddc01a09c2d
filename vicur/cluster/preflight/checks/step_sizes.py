"""Step sizes: some node has room for each step. A pod that fits none stays Pending without an error until its time limit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.amounts import (
    Amounts,
    amounts_text,
    lacking,
    parsed,
    pod_requests,
    requested,
    steps_text,
    total,
)
from vicur.cluster.preflight.api_groups import request_failed
from vicur.cluster.preflight.check import Finding, Status, Target
from vicur.cluster.preflight.nodes import accepts_pods, list_all, untolerated
from vicur.cluster.preflight.registry import check
from vicur.config.preflight import PreflightConfig, StepRequest

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

_FEW = 30
"""Nodes up to which their pods count. On more, listing all pods takes longer than a check may, and room is found more easily."""
_ENDED = "status.phase!=Succeeded,status.phase!=Failed"


def _requirement(target: Target) -> str:
    largest = max(target.needs.steps, key=lambda step: requested(step)["memory"])
    return f"a node with {amounts_text(requested(largest))} for {steps_text(largest)}"


@check("step sizes", topic="cluster", when=lambda target: bool(target.needs.steps), requires=_requirement)
def _step_sizes(target: Target) -> Finding:
    return step_sizes(target.connection, target.needs)


@dataclass(frozen=True)
class Room:
    """Room on a node.

    Attributes:
        offered: what the node offers to pods.
        lasting: requests of its pods that keep running, of Deployments and DaemonSets among others.
        passing: requests of its other pods, which will end.
    """

    node: Any
    offered: Amounts
    lasting: Amounts
    passing: Amounts

    @property
    def name(self) -> str:
        return str(self.node.metadata.name)

    def left(self, *, when_others_ended: bool) -> dict[str, Any]:
        """Return what is left now, or once the pods that will end have ended."""
        taken = self.lasting if when_others_ended else total((self.lasting, self.passing))
        return {name: amount - taken.get(name, 0) for name, amount in self.offered.items()}


def step_sizes(connection: ClusterConnection, needs: PreflightConfig) -> Finding:
    """Check that each step fits a node."""
    from kubernetes.client import ApiException, CoreV1Api

    api = CoreV1Api(connection.api())
    try:
        nodes = list_all(connection, api.list_node)
        pods = _running_pods(connection, api, needs.namespace) if len(nodes) <= _FEW else []
    except ApiException as error:
        if error.status == 403:
            return Finding(
                "warning",
                f"this account may not list nodes, so it is not known whether one has room for each step ({_largest(needs)})",
                "Grant it a ClusterRole that may list nodes, or compare with 'kubectl describe nodes'.",
            )
        return request_failed(error.status, "the list of its nodes", "Log in to the cluster again.")
    return check_rooms(needs, [_room(node, pods) for node in nodes if accepts_pods(node)])


def check_rooms(needs: PreflightConfig, rooms: Sequence[Room]) -> Finding:
    """Check that each step fits one of the nodes."""
    findings = [finding for step in needs.steps if (finding := _fit(step, rooms, needs.autoscaled)) is not None]
    if not findings and needs.sized_for_tiny:
        return Finding(
            "warning",
            f"each step fits a node, but has only the resources that the tiny model needs ({_largest(needs)})",
            "Compile a package for this base model (base.path), or with cluster.cpu_steps.memory and cluster.cpu_steps.cpu set.",
        )
    if not findings:
        return Finding("ok", f"each step fits a node ({_largest(needs)})")
    worst: Status = "failed" if any(each.status == "failed" for each in findings) else "warning"
    # The same remedy for several steps is given once.
    remedies = dict.fromkeys(each.remedy for each in findings)
    return Finding(worst, "; ".join(each.message for each in findings), " ".join(remedies))


def _fit(step: StepRequest, rooms: Sequence[Room], autoscaled: bool) -> Finding | None:
    needed = requested(step)
    suitable = [room for room in rooms if _is_suitable(step, room.node)]
    if not suitable:
        # The check of the GPU pool says what keeps its pods away.
        if step.gpus or step.node_selector:
            return None
        return _no_room(
            f"no node accepts the pods of {steps_text(step)}, which tolerate no taint", "Add a node.", autoscaled
        )
    if any(not lacking(needed, room.left(when_others_ended=False)) for room in suitable):
        return None
    asked = f"{steps_text(step)} {'requests' if len(step.steps) == 1 else 'request'} {amounts_text(needed)}"
    room = max(suitable, key=lambda room: _share(needed, room.left(when_others_ended=True)))
    left = room.left(when_others_ended=True)
    if not lacking(needed, left):
        return Finding(
            "warning",
            f"{asked} in a pod, which no node has free at the moment: {room.name} has "
            f"{amounts_text(room.left(when_others_ended=False))}",
            "The pods wait until others end.",
        )
    others = f", {amounts_text(left)} without what its other pods keep" if any(room.lasting.values()) else ""
    remedy = f"Set {_smaller(step, needed, left)}, compile the package again, or add a larger node."
    return _no_room(
        f"{asked} in a pod, but the largest node, {room.name}, offers {amounts_text(room.offered)}{others}",
        remedy,
        autoscaled,
    )


def _no_room(message: str, remedy: str, autoscaled: bool) -> Finding:
    if autoscaled:
        return Finding("warning", f"{message}; cluster.autoscaled is set, so a larger one may be added", remedy)
    return Finding("failed", message, f"{remedy} If nodes are added on demand, set cluster.autoscaled=true.")


def _smaller(step: StepRequest, needed: Amounts, left: Amounts) -> str:
    """Return the settings that would let a step fit."""
    short = [name for name in lacking(needed, left) if name in ("cpu", "memory")]
    amounts = (f"{step.setting}.{name} to at most {amounts_text(left, (name,)).split()[0]}" for name in short)
    return " and ".join(amounts) or "cluster.gpu_count to fewer GPUs"


def _is_suitable(step: StepRequest, node: Any) -> bool:
    labels = node.metadata.labels or {}
    return step.node_selector.items() <= labels.items() and not untolerated(node, step.tolerations)


def _share(needed: Amounts, left: Amounts) -> float:
    return min(float(left.get(name, 0) / amount) for name, amount in needed.items())


def _largest(needs: PreflightConfig) -> str:
    step = max(needs.steps, key=lambda step: requested(step)["memory"])
    return f"the largest pod, of {steps_text(step)}, requests {amounts_text(requested(step))}"


def _running_pods(connection: ClusterConnection, api: CoreV1Api, namespace: str) -> list[Any]:
    """Return the running pods of all namespaces, of the run's own, or none, as the account may list them."""
    from kubernetes.client import ApiException

    run = os.environ.get("VICUR_RUN_ID")
    for method, arguments in ((api.list_pod_for_all_namespaces, ()), (api.list_namespaced_pod, (namespace,))):
        try:
            pods = list_all(connection, method, *arguments, field_selector=_ENDED)
            # Those of this run, this step's own among them, end before the next step starts.
            return [pod for pod in pods if not run or (pod.metadata.labels or {}).get("pipeline/runid") != run]
        except ApiException as error:
            if error.status != 403:
                raise
    return []


def _room(node: Any, pods: Sequence[Any]) -> Room:
    own = [pod for pod in pods if pod.spec.node_name == node.metadata.name]
    # Pods of a Deployment, StatefulSet or DaemonSet are replaced when they end.
    lasting = [pod for pod in own if pod.spec.restart_policy == "Always"]
    passing = [pod for pod in own if pod.spec.restart_policy != "Always"]
    requests = (total(map(pod_requests, each)) for each in (lasting, passing))
    return Room(node, parsed(node.status.allocatable), *requests)
