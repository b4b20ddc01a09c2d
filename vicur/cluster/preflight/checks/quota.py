"""The namespace's quotas of GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.registry import check
from vicur.config.preflight import GpuPool


def _requirement(target: Target) -> str:
    pool = target.pool
    return f"the namespace {target.needs.namespace}, with a quota of {pool.gpus * pool.nodes} {pool.resource}"


@check("quota", topic="cluster", when=lambda target: target.needs.pool is not None, requires=_requirement)
def _quota(target: Target) -> Finding:
    return quota(target.connection, target.needs.namespace, target.pool)


def quota(connection: ClusterConnection, namespace: str, pool: GpuPool) -> Finding:
    """Check that the quotas of a namespace leave a training its GPUs."""
    from kubernetes.client import ApiException, CoreV1Api

    try:
        listed = connection.call(CoreV1Api(connection.api()).list_namespaced_resource_quota, namespace)
    except ApiException as error:
        return Finding(
            "warning",
            f"the quotas of the namespace {namespace} cannot be listed (HTTP {error.status})",
            f"See 'kubectl describe quota -n {namespace}'.",
        )
    return check_quotas(namespace, pool, listed.items)


def check_quotas(namespace: str, pool: GpuPool, quotas: Sequence[Any]) -> Finding:
    """Check quotas (``V1ResourceQuota``)."""
    from kubernetes.utils import parse_quantity

    key, needed = f"requests.{pool.resource}", pool.gpus * pool.nodes
    for each in quotas:
        if key not in (each.status.hard or {}):
            continue
        # Quantities are strings with suffixes: a thousand is "1k".
        hard, used = (
            int(parse_quantity((amounts or {}).get(key, 0))) for amounts in (each.status.hard, each.status.used)
        )
        name = each.metadata.name
        if hard < needed:
            return Finding(
                "failed",
                f"the quota {name} of the namespace {namespace} allows {hard} {pool.resource}, but {needed} are required",
                "Request fewer GPUs, or have the quota raised.",
            )
        if hard - used < needed:
            return Finding(
                "warning",
                f"the quota {name} of the namespace {namespace} has {hard - used} of {hard} {pool.resource} left, "
                f"but {needed} are required",
                "The cluster rejects the run's pods until other pods end. Wait for them, or have the quota raised.",
            )
    return Finding("ok", f"{needed} {pool.resource} are within the quotas of the namespace {namespace}")
