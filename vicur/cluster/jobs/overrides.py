"""What a TrainJob changes in the pods of its runtime, in the words of the Kubeflow Trainer that is installed.

The field has had three names and shapes, and the version in ``apiVersion`` stayed the same: ``podSpecOverrides`` (2.0),
``podTemplateOverrides`` (2.1) and ``runtimePatches`` (2.2 on). A server drops a field that it does not know, so the one to use is read
from the schema that it publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from vicur.errors import VicurError

NODE = "node"
"""How runtimes call the job of the training nodes and its container."""
MANAGER = "vicur.dev/launcher"
"""Who a patch belongs to."""


def overrides(
    fields: Collection[str],
    labels: Mapping[str, str],
    node_selector: Mapping[str, str],
    tolerations: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Fields of a TrainJob's ``spec`` that label its pods and place them.

    Args:
        fields: fields that ``spec`` has on the server.
        labels: labels of the pods; with Trainer 2.0, which cannot set them, of the job's own parts.
        node_selector: labels that a node must have.
        tolerations: taints that the pods bear.

    Raises:
        VicurError: where the server knows none of the three.
    """
    for field, shape in _SHAPES.items():
        if field in fields:
            place: dict[str, Any] = {}
            if node_selector:
                place["nodeSelector"] = dict(node_selector)
            if tolerations:
                place["tolerations"] = [dict(each) for each in tolerations]
            return shape(dict(labels), place)
    raise VicurError(
        f"TrainJobs of this cluster have none of the fields {', '.join(_SHAPES)} (they have {', '.join(sorted(fields)) or 'none'}).",
        where="trainjobs.trainer.kubeflow.org",
        remedy="Install Kubeflow Trainer 2.0 to 2.3, or train on one node (cluster.nodes: 1).",
    )


def _runtime_patches(labels: dict[str, str], place: dict[str, Any]) -> dict[str, Any]:
    pod = {"metadata": {"labels": labels}, **({"spec": place} if place else {})}
    job = {"name": NODE, "template": {"spec": {"template": pod}}}
    patch = {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}
    return {"runtimePatches": [patch]}


def _pod_template_overrides(labels: dict[str, str], place: dict[str, Any]) -> dict[str, Any]:
    override = {"targetJobs": [{"name": NODE}], "metadata": {"labels": labels}, **({"spec": place} if place else {})}
    return {"podTemplateOverrides": [override]}


def _pod_spec_overrides(labels: dict[str, str], place: dict[str, Any]) -> dict[str, Any]:
    override = {"podSpecOverrides": [{"targetJobs": [{"name": NODE}], **place}]} if place else {}
    return {"labels": labels, **override}


_SHAPES: dict[str, Callable[[dict[str, str], dict[str, Any]], dict[str, Any]]] = {
    "runtimePatches": _runtime_patches,
    "podTemplateOverrides": _pod_template_overrides,
    "podSpecOverrides": _pod_spec_overrides,
}
