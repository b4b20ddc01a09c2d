"""The TrainJob of a training, as a plain dictionary."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from vicur.cluster.jobs.names import PRIORITY, QUEUE, WORK
from vicur.cluster.jobs.overrides import overrides
from vicur.config.cluster import ClusterConfig

GROUP = "trainer.kubeflow.org"
VERSION = "v1alpha1"
PLURAL = "trainjobs"
POD_COMMAND = ("python", "-m", "vicur", "cluster", "node")
"""What each node runs. All else it learns from its environment: torchrun's variables and ``VICUR_NODE_TASK``."""


@dataclass(frozen=True)
class JobRequest:
    """What a job is for.

    Attributes:
        name: its name.
        namespace: where it is made.
        labels: labels of the job and its pods.
        work: key of the work.
        image: container image of the nodes.
        environment: variables of the nodes; none is a secret.
        owner: reference to what the job is to be removed with; none where that is unknown.
    """

    name: str
    namespace: str
    labels: Mapping[str, str]
    work: str
    image: str
    environment: Mapping[str, str] = field(default_factory=dict)
    owner: Mapping[str, Any] | None = None


def train_job(request: JobRequest, pool: ClusterConfig, fields: Collection[str]) -> dict[str, Any]:
    """The manifest of a TrainJob.

    Args:
        request: what it is for.
        pool: its nodes.
        fields: fields that a TrainJob's ``spec`` has on the server.

    Raises:
        VicurError: where the server's TrainJobs cannot say where pods go.
    """
    metadata: dict[str, Any] = {
        "name": request.name,
        "namespace": request.namespace,
        "labels": {**request.labels, **_queue(pool)},
        "annotations": {WORK: request.work},
    }
    if request.owner is not None:
        metadata["ownerReferences"] = [dict(request.owner)]
    amounts = {"cpu": pool.gpu_steps.cpu, "memory": pool.gpu_steps.memory}
    if pool.gpu_count:
        amounts[pool.gpu_type] = str(pool.gpu_count)
    # What is empty means every key, value or effect, and is left out.
    taints = [{name: value for name, value in taint.model_dump().items() if value} for taint in pool.tolerations]
    spec: dict[str, Any] = {
        # Where Kueue is to start the job, it must not start before Kueue has seen it.
        "suspend": bool(pool.queue),
        "runtimeRef": {"apiGroup": GROUP, "kind": pool.jobs.runtime_kind, "name": pool.jobs.runtime},
        "trainer": {
            "image": request.image,
            "command": list(POD_COMMAND),
            "numNodes": pool.nodes,
            "resourcesPerNode": {"requests": amounts, "limits": amounts},
            "env": [{"name": name, "value": value} for name, value in sorted(request.environment.items())],
        },
        **overrides(fields, request.labels, pool.node_selector, taints),
    }
    if "activeDeadlineSeconds" in fields:
        # The launcher keeps the limits itself. This one holds where it is gone for good, so it is the later one.
        spec["activeDeadlineSeconds"] = int((pool.training_timeout_hours + 1) * 3600 + pool.jobs.start_minutes * 60)
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainJob", "metadata": metadata, "spec": spec}


def _queue(pool: ClusterConfig) -> dict[str, str]:
    named = {QUEUE: pool.queue, PRIORITY: pool.jobs.priority if pool.queue else ""}
    return {label: value for label, value in named.items() if value}
