"""Kueue's queue of trainings."""

from __future__ import annotations

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.api_groups import KUEUE, api_group, preferred_version, served_versions
from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.registry import check


def _requirement(target: Target) -> str:
    return f"Kueue, with the LocalQueue {target.needs.queue} in the namespace {target.needs.namespace}"


@check("queue", topic="cluster", when=lambda target: target.needs.queue is not None, requires=_requirement)
def _queue(target: Target) -> Finding:
    return queue(target.connection, target.needs.namespace, target.needs.queue or "")


def queue(connection: ClusterConnection, namespace: str, name: str) -> Finding:
    """Check that Kueue has a LocalQueue of this name that accepts work."""
    from kubernetes.client import ApiException, CustomObjectsApi

    kueue = api_group(connection, KUEUE)
    if kueue.status == "failed":
        return kueue
    version = preferred_version(served_versions(connection)[KUEUE.name], KUEUE)
    api = CustomObjectsApi(connection.api())
    try:
        response = connection.call(api.list_namespaced_custom_object, KUEUE.name, version, namespace, "localqueues")
    except ApiException as error:
        return Finding(
            "warning",
            f"the queues of the namespace {namespace} cannot be listed (HTTP {error.status})",
            f"See 'kubectl get localqueues -n {namespace}'.",
        )
    queues = {each["metadata"]["name"]: each for each in response["items"]}
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
    return Finding("ok", f"the LocalQueue {name} accepts work")
