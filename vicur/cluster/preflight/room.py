"""Room for a training: the namespace's quotas, and Kueue's queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vicur.cluster.preflight.finding import Finding
from vicur.cluster.preflight.interfaces import KUEUE, interface, served_versions, version_of
from vicur.cluster.preflight.link import Link
from vicur.config.preflight import GpuPool


def quota(link: Link, namespace: str, pool: GpuPool) -> Finding:
    """Whether the quotas of a namespace let a training have its GPUs.

    Raises:
        NoClusterError: where there is no cluster.
    """
    from kubernetes.client import ApiException, CoreV1Api

    try:
        listed = link.ask(CoreV1Api(link.api()).list_namespaced_resource_quota, namespace)
    except ApiException as error:
        return Finding(
            "warning",
            f"quotas of {namespace} may not be listed ({error.status})",
            f"See 'kubectl describe quota -n {namespace}'.",
        )
    return quota_judged(namespace, pool, listed.items)


def quota_judged(namespace: str, pool: GpuPool, quotas: Sequence[Any]) -> Finding:
    """A finding on quotas (``V1ResourceQuota``)."""
    from kubernetes.utils import parse_quantity

    key, needed = f"requests.{pool.resource}", pool.gpus * pool.nodes
    for each in quotas:
        if key not in (each.status.hard or {}):
            continue
        # Kubernetes writes a thousand as 1k.
        hard, used = (int(parse_quantity((held or {}).get(key, 0))) for held in (each.status.hard, each.status.used))
        name = each.metadata.name
        if hard < needed:
            return Finding(
                "failed",
                f"quota {name} of {namespace} allows {hard} {pool.resource}, {needed} are asked for",
                "Ask for fewer, or have the quota raised.",
            )
        if hard - used < needed:
            return Finding(
                "warning",
                f"quota {name} of {namespace} has {hard - used} of {hard} {pool.resource} left, {needed} are asked for",
                "The pods are refused until others end.",
            )
    return Finding("ok", f"{needed} {pool.resource} are within the quotas of {namespace}")


def queue(link: Link, namespace: str, name: str) -> Finding:
    """Whether Kueue has a LocalQueue of this name that takes work.

    Raises:
        NoClusterError: where there is no cluster.
    """
    from kubernetes.client import ApiException, CustomObjectsApi

    kueue = interface(link, KUEUE)
    if kueue.status == "failed":
        return kueue
    version = version_of(served_versions(link)[KUEUE.group], KUEUE)
    api = CustomObjectsApi(link.api())
    try:
        listed = link.ask(api.list_namespaced_custom_object, KUEUE.group, version, namespace, "localqueues")["items"]
    except ApiException as error:
        return Finding(
            "warning",
            f"queues of {namespace} may not be listed ({error.status})",
            f"See 'kubectl get localqueues -n {namespace}'.",
        )
    found = {each["metadata"]["name"]: each for each in listed}
    if name not in found:
        return Finding(
            "failed",
            f"{namespace} has no queue {name}, but {', '.join(sorted(found)) or 'none'}",
            "Correct the name, or create a LocalQueue (k8s/, docs/kubernetes.md).",
        )
    conditions = found[name].get("status", {}).get("conditions", [])
    stopped = [each for each in conditions if each["type"] == "Active" and each["status"] != "True"]
    if stopped:
        return Finding(
            "failed", f"queue {name} takes no work: {stopped[0].get('message', '')}", "Mend its ClusterQueue."
        )
    return Finding("ok", f"queue {name} takes work")
