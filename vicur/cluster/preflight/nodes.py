"""The nodes of the cluster, and whether they take a pod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vicur.cluster.connection import ClusterConnection
from vicur.config.cluster import Toleration

PAGE = 500


def list_all(connection: ClusterConnection, method: Any, *arguments: Any, **named: Any) -> list[Any]:
    """Return all objects that a list method of the client returns, page by page."""
    page = connection.call(method, *arguments, limit=PAGE, **named)
    items = list(page.items)
    while page.metadata._continue:
        page = connection.call(method, *arguments, limit=PAGE, _continue=page.metadata._continue, **named)
        items += page.items
    return items


def accepts_pods(node: Any) -> bool:
    """Return whether a node (``V1Node``) is ready and not cordoned."""
    ready = any(each.type == "Ready" and each.status == "True" for each in node.status.conditions or ())
    return ready and not node.spec.unschedulable


def untolerated(node: Any, tolerations: Sequence[Toleration]) -> list[Any]:
    """Return the taints of a node that keep pods with these tolerations away."""
    return [
        taint
        for taint in node.spec.taints or ()
        if taint.effect in ("NoSchedule", "NoExecute")
        # Kubernetes also taints nodes that are cordoned or not ready. accepts_pods reports those.
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
