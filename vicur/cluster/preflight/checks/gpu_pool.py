"""The GPU pool: nodes with the right labels, enough GPUs and tolerated taints that accept new pods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.api_groups import request_failed
from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.registry import check
from vicur.config.cluster import Toleration
from vicur.config.preflight import GpuPool

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

_PAGE = 500


def _requirement(target: Target) -> str:
    pool = target.pool
    labels = f" labelled {pool.node_selector}" if pool.node_selector else ""
    return f"{pool.nodes} node(s){labels} with {pool.gpus} {pool.resource} each"


@check("gpu pool", topic="cluster", when=lambda target: target.needs.pool is not None, requires=_requirement)
def _gpu_pool(target: Target) -> Finding:
    return gpu_pool(target.connection, target.pool)


def gpu_pool(connection: ClusterConnection, pool: GpuPool) -> Finding:
    """Check that the cluster has the pool."""
    from kubernetes.client import ApiException, CoreV1Api

    api = CoreV1Api(connection.api())
    selector = ",".join(f"{key}={value}" for key, value in sorted(pool.node_selector.items()))
    try:
        nodes = _list_nodes(connection, api, label_selector=selector)
        # Without matching nodes, one page of the others is enough for a hint about their labels.
        others = connection.call(api.list_node, limit=_PAGE).items if not nodes and selector else []
    except ApiException as error:
        if error.status == 403:
            return Finding(
                "warning",
                "this account may not list nodes, so the GPUs were not checked",
                "Grant it a ClusterRole that may list nodes, or compare cluster.node_selector with 'kubectl get nodes --show-labels'.",
            )
        return request_failed(error.status, "the list of its nodes", "Log in to the cluster again.")
    return check_nodes(pool, nodes, others)


def _list_nodes(connection: ClusterConnection, api: CoreV1Api, **named: str) -> list[Any]:
    # Page by page: in a large cluster the GPU nodes may be on the last one.
    page = connection.call(api.list_node, limit=_PAGE, **named)
    nodes = list(page.items)
    while page.metadata._continue:
        page = connection.call(api.list_node, limit=_PAGE, _continue=page.metadata._continue, **named)
        nodes += page.items
    return nodes


def check_nodes(pool: GpuPool, nodes: Sequence[Any], others: Sequence[Any] = ()) -> Finding:
    """Check the nodes of a pool (``V1Node``). ``others`` are nodes with other labels, for a hint if the pool has no nodes."""
    labels = _labels(pool)
    if not nodes:
        return _lacking(pool, f"no node has the labels {labels}", _label_hint(pool, others))
    # From the most general obstacle to the most specific one: each remedy assumes that the earlier ones are not needed.
    counts = [_gpus(node, pool.resource) for node in nodes]
    if max(counts) == 0:
        return _lacking(
            pool,
            f"{len(nodes)} node(s) with {labels} offer no {pool.resource}",
            "Install the GPU's device plugin on them.",
        )
    enough = [node for node, count in zip(nodes, counts, strict=True) if count >= pool.gpus]
    if not enough:
        return _lacking(
            pool,
            f"no node with {labels} has more than {max(counts)} {pool.resource}, but {pool.gpus} are required",
            "Request fewer GPUs per node (cluster.gpu_count) and more nodes.",
        )
    tolerated = [node for node in enough if not _untolerated(node, pool.tolerations)]
    if not tolerated:
        taint = _untolerated(enough[0], pool.tolerations)[0]
        return Finding(
            "failed",
            f"the nodes with {labels} have the taint {taint.key}={taint.value or ''}:{taint.effect}, which is not tolerated",
            f"Add to cluster.tolerations: {_toleration_for(taint)}",
        )
    ready = [node for node in tolerated if _accepts_pods(node)]
    message = f"{len(ready)} node(s) with {labels} are ready for {pool.gpus} {pool.resource} each"
    if len(ready) < pool.nodes:
        return _lacking(
            pool,
            f"{message}, but {pool.nodes} are required",
            "Request fewer nodes (cluster.nodes), or wait until the others are ready.",
        )
    return Finding("ok", message)


def _lacking(pool: GpuPool, message: str, remedy: str) -> Finding:
    if pool.autoscaled:
        return Finding("warning", f"{message} at the moment; the pool is configured as autoscaled", remedy)
    return Finding("failed", message, f"{remedy} If nodes are added on demand, set cluster.autoscaled.")


def _labels(pool: GpuPool) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(pool.node_selector.items())) or "any labels"


def _label_hint(pool: GpuPool, others: Sequence[Any]) -> str:
    hints = []
    for key in sorted(pool.node_selector):
        values = sorted({node.metadata.labels[key] for node in others if key in (node.metadata.labels or {})})
        hints.append(f"nodes have {key}={' or '.join(values)}" if values else f"no node has the label {key}")
    return f"Correct cluster.node_selector: {'; '.join(hints)}." if hints else "Add GPU nodes to the cluster."


def _gpus(node: Any, resource: str) -> int:
    return int((node.status.allocatable or {}).get(resource, 0))


def _accepts_pods(node: Any) -> bool:
    ready = any(each.type == "Ready" and each.status == "True" for each in node.status.conditions or ())
    return ready and not node.spec.unschedulable


def _untolerated(node: Any, tolerations: Sequence[Toleration]) -> list[Any]:
    return [
        taint
        for taint in node.spec.taints or ()
        if taint.effect in ("NoSchedule", "NoExecute")
        # Kubernetes also taints nodes that are cordoned or not ready. _accepts_pods reports those.
        and not taint.key.startswith("node.kubernetes.io/")
        and not any(tolerates(each, taint) for each in tolerations)
    ]


def tolerates(toleration: Toleration, taint: Any) -> bool:
    """Return whether a toleration matches a taint (``V1Taint``), by Kubernetes' rules."""
    if toleration.effect not in ("", taint.effect):
        return False
    if not toleration.key:
        return toleration.operator == "Exists"
    return toleration.key == taint.key and (toleration.operator == "Exists" or toleration.value == (taint.value or ""))


def _toleration_for(taint: Any) -> str:
    if taint.value:
        return f"{{key: {taint.key}, value: '{taint.value}', effect: {taint.effect}}}"
    return f"{{key: {taint.key}, operator: Exists, effect: {taint.effect}}}"
