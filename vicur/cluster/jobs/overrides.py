"""Changes that a TrainJob makes to the pods of its training runtime, for each supported version of Kubeflow Trainer.

The field has had three names and structures under the same ``apiVersion``: ``podSpecOverrides`` (2.0), ``podTemplateOverrides`` (2.1)
and ``runtimePatches`` (since 2.2). A server drops unknown fields, so the one to use is taken from the schema that it publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from vicur.errors import VicurError

NODE = "node"
"""Name of the training nodes' job, and of its container, in training runtimes."""
MANAGER = "vicur.dev/launcher"
"""Owner of our patches among those of a TrainJob."""


def overrides(
    fields: Collection[str],
    labels: Mapping[str, str],
    node_selector: Mapping[str, str],
    tolerations: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return those of the server's ``fields`` of a TrainJob's ``spec`` that label and place its pods.

    Raises:
        VicurError: if the server has none of the three fields.
    """
    for field, build in _BUILDERS.items():
        if field in fields:
            placement: dict[str, Any] = {}
            if node_selector:
                placement["nodeSelector"] = dict(node_selector)
            if tolerations:
                placement["tolerations"] = [dict(each) for each in tolerations]
            return build(dict(labels), placement)
    raise VicurError(
        f"TrainJobs in this cluster have none of the fields {', '.join(_BUILDERS)} (but {', '.join(sorted(fields)) or 'no field'}).",
        where="trainjobs.trainer.kubeflow.org",
        remedy="Install Kubeflow Trainer 2.0 to 2.3, or train in the step's own pod (cluster.nodes=1, cluster.jobs.always=false).",
    )


def _runtime_patches(labels: dict[str, str], placement: dict[str, Any]) -> dict[str, Any]:
    pod = {"metadata": {"labels": labels}, **({"spec": placement} if placement else {})}
    job = {"name": NODE, "template": {"spec": {"template": pod}}}
    patch = {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}
    return {"runtimePatches": [patch]}


def _pod_template_overrides(labels: dict[str, str], placement: dict[str, Any]) -> dict[str, Any]:
    override = {
        "targetJobs": [{"name": NODE}],
        "metadata": {"labels": labels},
        **({"spec": placement} if placement else {}),
    }
    return {"podTemplateOverrides": [override]}


def _pod_spec_overrides(labels: dict[str, str], placement: dict[str, Any]) -> dict[str, Any]:
    # Trainer 2.0 cannot set the pods' labels. These label the job's other objects.
    override = {"podSpecOverrides": [{"targetJobs": [{"name": NODE}], **placement}]} if placement else {}
    return {"labels": labels, **override}


# Newest first.
_BUILDERS: dict[str, Callable[[dict[str, str], dict[str, Any]], dict[str, Any]]] = {
    "runtimePatches": _runtime_patches,
    "podTemplateOverrides": _pod_template_overrides,
    "podSpecOverrides": _pod_spec_overrides,
}
