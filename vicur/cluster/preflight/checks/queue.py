"""Kueue's queue of trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.api_groups import KUEUE, api_group, preferred_version, served_versions
from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.cluster_queue import quota_for
from vicur.cluster.preflight.registry import check
from vicur.config.preflight import StepRequest


def _requirement(target: Target) -> str:
    return f"Kueue, with the LocalQueue {target.needs.queue} in the namespace {target.needs.namespace}"


@check("queue", topic="cluster", when=lambda target: target.needs.queue is not None, requires=_requirement)
def _queue(target: Target) -> Finding:
    needs = target.needs
    return queue(target.connection, needs.namespace, needs.queue or "", needs.steps)


def queue(connection: ClusterConnection, namespace: str, name: str, steps: Sequence[StepRequest] = ()) -> Finding:
    """Check that Kueue has a LocalQueue of this name that accepts work, and that its ClusterQueue has room for each queued step."""
    from kubernetes.client import ApiException, CustomObjectsApi

    kueue = api_group(connection, KUEUE)
    if kueue.status == "failed":
        return kueue
    version = preferred_version(served_versions(connection)[KUEUE.name], KUEUE) or ""
    api = CustomObjectsApi(connection.api())
    try:
        response = connection.call(api.list_namespaced_custom_object, KUEUE.name, version, namespace, "localqueues")
    except ApiException as error:
        return Finding(
            "warning",
            f"the queues of the namespace {namespace} cannot be listed (HTTP {error.status})",
            f"See 'kubectl get localqueues -n {namespace}'.",
        )
    local = _local_queue({each["metadata"]["name"]: each for each in response["items"]}, namespace, name)
    if isinstance(local, Finding):
        return local
    cluster_queue = local.get("spec", {}).get("clusterQueue", "")
    queued = [step for step in steps if step.queued]
    if not queued:
        return Finding("ok", f"the LocalQueue {name} accepts work")
    return quota_for(connection, version, cluster_queue, queued)


def _local_queue(queues: Mapping[str, Any], namespace: str, name: str) -> Any:
    """Return a LocalQueue, or the finding that it is missing or inactive."""
    if name not in queues:
        return Finding(
            "failed",
            f"the namespace {namespace} has no LocalQueue {name}, but {', '.join(sorted(queues)) or 'none at all'}",
            "Correct cluster.queue, or create the LocalQueue (docs/kubernetes.md).",
        )
    # A queue without the condition is new and counts as active.
    conditions = queues[name].get("status", {}).get("conditions", [])
    inactive = [each for each in conditions if each["type"] == "Active" and each["status"] != "True"]
    if inactive:
        return Finding(
            "failed",
            f"the LocalQueue {name} does not accept work: {inactive[0].get('message', '')}",
            "Repair the ClusterQueue that it points to.",
        )
    return queues[name]
