"""The manifest of a TrainJob, as a plain dictionary."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from vicur.cluster.jobs.names import PRIORITY, QUEUE, WORK
from vicur.cluster.jobs.overrides import overrides
from vicur.cluster.jobs.servers import ServerRole
from vicur.config.cluster import ClusterConfig
from vicur.config.sizes import step_size

GROUP = "trainer.kubeflow.org"
VERSION = "v1alpha1"
PLURAL = "trainjobs"
POD_COMMAND = ("python", "-m", "vicur", "cluster", "node")
"""Command of each node. It reads its work from ``VICUR_NODE_TASK`` and its rank from torchrun's variables."""


@dataclass(frozen=True)
class JobRequest:
    """A job to create.

    Attributes:
        labels: labels of the job and of its pods.
        work: key of the work.
        environment: environment variables of the nodes. A job is readable by many accounts, so none may be secret.
        owner: owner reference; Kubernetes deletes the job together with its owner.
        servers: roles of servers. The job then has its own training runtime, with its name.
    """

    name: str
    namespace: str
    labels: Mapping[str, str]
    work: str
    image: str
    environment: Mapping[str, str] = field(default_factory=dict)
    owner: Mapping[str, Any] | None = None
    servers: tuple[ServerRole, ...] = ()

    @property
    def server_count(self) -> int:
        return sum(role.replicas for role in self.servers)


def train_job(request: JobRequest, pool: ClusterConfig, fields: Collection[str]) -> dict[str, Any]:
    """Return the manifest of a TrainJob for a server whose TrainJobs have the fields ``fields`` in ``spec``."""
    metadata: dict[str, Any] = {
        "name": request.name,
        "namespace": request.namespace,
        "labels": {**request.labels, **_queue(pool)},
        "annotations": {WORK: request.work},
    }
    if request.owner is not None:
        metadata["ownerReferences"] = [dict(request.owner)]
    # By default equal requests and limits: the pods are of the class "Guaranteed", which is evicted last.
    size = step_size(pool, runs_model=True)
    amounts = {"cpu": size.cpu, "memory": size.memory}
    if pool.gpu_count:
        amounts[pool.gpu_type] = str(pool.gpu_count)
    # In Kubernetes a missing key, value or effect matches all; an empty string is not the same.
    taints = [{name: value for name, value in taint.model_dump().items() if value} for taint in pool.tolerations]
    spec: dict[str, Any] = {
        # With a queue, the job is created suspended and Kueue starts it. Otherwise it could start before Kueue has seen it.
        "suspend": bool(pool.queue),
        "runtimeRef": {"apiGroup": GROUP, **_runtime(request, pool)},
        "trainer": {
            "image": request.image,
            # Not torchrun: the command fetches the inputs first, and starts torchrun itself.
            "command": list(POD_COMMAND),
            "numNodes": pool.nodes,
            "resourcesPerNode": {"requests": amounts, "limits": {**amounts, "cpu": size.cpu_limit}},
            "env": [{"name": name, "value": value} for name, value in sorted(request.environment.items())],
        },
        **overrides(fields, request.labels, pool.node_selector, taints),
    }
    if "activeDeadlineSeconds" in fields:
        # The launcher enforces the time limits itself. This later one takes effect if the launcher is gone for good.
        spec["activeDeadlineSeconds"] = int((pool.training_timeout_hours + 1) * 3600 + pool.jobs.start_minutes * 60)
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainJob", "metadata": metadata, "spec": spec}


def _runtime(request: JobRequest, pool: ClusterConfig) -> dict[str, str]:
    if request.servers:
        return {"kind": "TrainingRuntime", "name": request.name}
    return {"kind": pool.jobs.runtime_kind, "name": pool.jobs.runtime}


def _queue(pool: ClusterConfig) -> dict[str, str]:
    named = {QUEUE: pool.queue, PRIORITY: pool.jobs.priority if pool.queue else ""}
    return {label: value for label, value in named.items() if value}
