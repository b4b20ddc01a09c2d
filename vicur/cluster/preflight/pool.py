"""The GPU pool: nodes that carry the labels, have enough GPUs, take new pods, and whose taints are tolerated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vicur.cluster.preflight.finding import Finding
from vicur.cluster.preflight.interfaces import refused
from vicur.cluster.preflight.link import Link
from vicur.config.cluster import Toleration
from vicur.config.preflight import GpuPool

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

_PAGE = 500


def gpu_pool(link: Link, pool: GpuPool) -> Finding:
    """Whether the cluster has the pool.

    Raises:
        NoClusterError: where there is no cluster.
    """
    from kubernetes.client import ApiException, CoreV1Api

    api = CoreV1Api(link.api())
    selector = ",".join(f"{key}={value}" for key, value in sorted(pool.node_selector.items()))
    try:
        nodes = _listed(link, api, label_selector=selector)
        # Some of them, for a hint.
        others = link.ask(api.list_node, limit=_PAGE).items if not nodes and selector else []
    except ApiException as error:
        if error.status == 403:
            return Finding(
                "warning",
                "nodes may not be listed with this account, so nobody has looked for the GPUs",
                "Let it list nodes (a ClusterRole with that verb alone), or compare node_selector with 'kubectl get nodes --show-labels'.",
            )
        return refused(error.status, "listing nodes", "Log in again.")
    return judged(pool, nodes, others)


def _listed(link: Link, api: CoreV1Api, **named: str) -> list[Any]:
    """All nodes, page by page: those with GPUs may be the last of a large cluster."""
    page = link.ask(api.list_node, limit=_PAGE, **named)
    nodes = list(page.items)
    while page.metadata._continue:
        page = link.ask(api.list_node, limit=_PAGE, _continue=page.metadata._continue, **named)
        nodes += page.items
    return nodes


def judged(pool: GpuPool, nodes: Sequence[Any], others: Sequence[Any] = ()) -> Finding:
    """A finding on the nodes of a pool.

    Args:
        pool: what is asked for.
        nodes: the nodes (``V1Node``) that carry its labels.
        others: nodes to name labels of, where none carries these.
    """
    labels = _labels(pool)
    if not nodes:
        return _none(pool, f"no node carries {labels}", _other_labels(pool, others))
    counts = [_gpus(node, pool.resource) for node in nodes]
    if max(counts) == 0:
        return _none(
            pool,
            f"{len(nodes)} node(s) with {labels} offer no {pool.resource}",
            "Install the GPU's device plugin there.",
        )
    enough = [node for node, count in zip(nodes, counts, strict=True) if count >= pool.gpus]
    if not enough:
        return _none(
            pool, f"no node with {labels} has more than {max(counts)} {pool.resource}, {pool.gpus} are asked for",
            "Ask for fewer GPUs a node and more nodes.",
        )  # fmt: skip
    open_nodes = [node for node in enough if not _untolerated(node, pool.tolerations)]
    if not open_nodes:
        taint = _untolerated(enough[0], pool.tolerations)[0]
        return Finding(
            "failed",
            f"the nodes with {labels} are tainted {taint.key}={taint.value or ''}:{taint.effect}",
            f"Add to tolerations: {_toleration_for(taint)}",
        )
    ready = [node for node in open_nodes if _takes_pods(node)]
    what = f"{len(ready)} node(s) with {labels} are ready for {pool.gpus} {pool.resource} each"
    if len(ready) < pool.nodes:
        return _none(pool, f"{what}, {pool.nodes} are asked for", "Ask for fewer nodes, or wait for the others.")
    return Finding("ok", what)


def _none(pool: GpuPool, what: str, remedy: str) -> Finding:
    if pool.autoscaled:
        return Finding("warning", f"{what}; the pool is said to grow by itself", remedy)
    return Finding("failed", what, f"{remedy} Where nodes are added on demand, set pool.autoscaled.")


def _labels(pool: GpuPool) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(pool.node_selector.items())) or "any labels"


def _other_labels(pool: GpuPool, others: Sequence[Any]) -> str:
    """Which values the labels have on other nodes."""
    hints = []
    for key in sorted(pool.node_selector):
        values = sorted({node.metadata.labels[key] for node in others if key in (node.metadata.labels or {})})
        hints.append(f"{key} is {' or '.join(values)}" if values else f"no node has {key}")
    return f"Correct node_selector: {'; '.join(hints)}." if hints else "Add GPU nodes to the cluster."


def _gpus(node: Any, resource: str) -> int:
    return int((node.status.allocatable or {}).get(resource, 0))


def _takes_pods(node: Any) -> bool:
    ready = any(each.type == "Ready" and each.status == "True" for each in node.status.conditions or ())
    return ready and not node.spec.unschedulable


def _untolerated(node: Any, tolerations: Sequence[Toleration]) -> list[Any]:
    """Taints that keep pods away. That a node is cordoned or not ready shows as a taint too; it is told by other words."""
    return [
        taint
        for taint in node.spec.taints or ()
        if taint.effect in ("NoSchedule", "NoExecute")
        and not taint.key.startswith("node.kubernetes.io/")
        and not any(tolerates(each, taint) for each in tolerations)
    ]


def tolerates(toleration: Toleration, taint: Any) -> bool:
    """Whether a toleration matches a taint (``V1Taint``), as Kubernetes decides it."""
    if toleration.effect not in ("", taint.effect):
        return False
    if not toleration.key:
        return toleration.operator == "Exists"
    return toleration.key == taint.key and (toleration.operator == "Exists" or toleration.value == (taint.value or ""))


def _toleration_for(taint: Any) -> str:
    if taint.value:
        return f"{{key: {taint.key}, value: '{taint.value}', effect: {taint.effect}}}"
    return f"{{key: {taint.key}, operator: Exists, effect: {taint.effect}}}"
