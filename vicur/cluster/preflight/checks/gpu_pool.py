"""The GPU pool: nodes with the right labels, enough GPUs and tolerated taints that accept new pods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.api_groups import request_failed
from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.nodes import PAGE, accepts_pods, list_all, untolerated
from vicur.cluster.preflight.registry import check
from vicur.config.preflight import GpuPool


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
        nodes = list_all(connection, api.list_node, label_selector=selector)
        # Without matching nodes, one page of the others is enough for a hint about their labels.
        others = connection.call(api.list_node, limit=PAGE).items if not nodes and selector else []
    except ApiException as error:
        if error.status == 403:
            return Finding(
                "warning",
                "this account may not list nodes, so the GPUs were not checked",
                "Grant it a ClusterRole that may list nodes, or compare cluster.node_selector with 'kubectl get nodes --show-labels'.",
            )
        return request_failed(error.status, "the list of its nodes", "Log in to the cluster again.")
    return check_nodes(pool, nodes, others)


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
    tolerated = [node for node in enough if not untolerated(node, pool.tolerations)]
    if not tolerated:
        taint = untolerated(enough[0], pool.tolerations)[0]
        return Finding(
            "failed",
            f"the nodes with {labels} have the taint {taint.key}={taint.value or ''}:{taint.effect}, which is not tolerated",
            f"Add to cluster.tolerations: {_toleration_for(taint)}",
        )
    ready = [node for node in tolerated if accepts_pods(node)]
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
    return Finding("failed", message, f"{remedy} If nodes are added on demand, set cluster.autoscaled=true.")


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


def _toleration_for(taint: Any) -> str:
    if taint.value:
        return f"{{key: {taint.key}, value: '{taint.value}', effect: {taint.effect}}}"
    return f"{{key: {taint.key}, operator: Exists, effect: {taint.effect}}}"
