"""Servers of a training as further roles of its job: their pods, addresses, and the training runtime that contains them.

A TrainJob can change the pods of its runtime's roles but cannot add a role. The launcher therefore gives the job a separate runtime: a
copy of the configured one, with the servers in addition. Their pods have the security settings, volumes and endpoints of the nodes'.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vicur.cluster.jobs.names import PART_OF, RUN, TASK
from vicur.cluster.jobs.overrides import NODE
from vicur.config.cluster import ClusterConfig
from vicur.config.sizes import server_size
from vicur.config.vllm import API_KEY_VARIABLE
from vicur.errors import VicurError

Json = dict[str, Any]

CONTAINER = "server"
"""Name of the container of a server."""
PORT = 8000
TASK_VARIABLE = "VICUR_SERVER_TASK"
ROLE = "vicur.dev/role"
"""Label of the pods of servers, with the value ``server``. Network policies select it."""
COMMAND = ("vicur", "cluster", "server")
RESTARTS = 3
"""Times that a server is restarted before the job fails."""
_ANCESTOR = "trainer.kubeflow.org/trainjob-ancestor-step"
_PERIOD = 10  # seconds between probes
_STOP_SECONDS = 30
# An exit status that says: invalid input, which a restart does not change.
_WRONG_INPUT = 2


@dataclass(frozen=True)
class ServerRole:
    """The servers of one part of a training.

    Attributes:
        name: ``rollout`` or ``teacher``.
        devices: GPUs of each.
        task: what each serves, for the variable ``VICUR_SERVER_TASK``. A job is readable by many accounts, so nothing in it may be secret.
    """

    name: str
    replicas: int
    devices: int
    start_minutes: float
    image: str
    task: str


def urls(job: str, role: ServerRole) -> tuple[str, ...]:
    """Return the addresses of a role's servers: JobSet gives its pods stable names, which resolve in the job's namespace."""
    return tuple(f"http://{job}-{role.name}-0-{index}.{job}:{PORT}" for index in range(role.replicas))


def runtime_with(
    roles: Sequence[ServerRole],
    runtime: Mapping[str, Any],
    name: str,
    labels: Mapping[str, str],
    pool: ClusterConfig,
    environment: Mapping[str, str],
) -> Json:
    """Return the manifest of a copy of a training runtime with servers.

    Args:
        name: of the new runtime.
        environment: variables of the servers.

    Raises:
        VicurError: if the runtime has no role ``node`` with a container of this name.
    """
    spec = copy.deepcopy(dict(runtime["spec"]))
    jobs = spec["template"]["spec"].get("replicatedJobs") or []
    node = next((each for each in jobs if each["name"] == NODE), None)
    container = next((each for each in _pod(node)["containers"] if each["name"] == NODE), None) if node else None
    if node is None or container is None:
        raise VicurError(
            f"the runtime has no job {NODE!r} with a container {NODE!r}, which servers take their settings from.",
            where=f"TrainingRuntime {runtime['metadata']['name']}",
            remedy="Install the training runtime of this release (k8s/base/training), or set cluster.jobs.runtime to another one.",
        )
    servers = [_server(role, node, labels, pool, environment) for role in roles]
    container["env"] = [*(container.get("env") or []), *_key(pool)]
    template = spec["template"]["spec"]
    template["replicatedJobs"] = [*jobs, *servers]
    # Servers run until they are stopped: the job is complete when its nodes are. JobSet then stops the servers.
    template["successPolicy"] = {"operator": "All", "targetReplicatedJobs": [NODE]}
    return {
        "apiVersion": runtime["apiVersion"],
        "kind": "TrainingRuntime",
        "metadata": {"name": name, "labels": {**(runtime["metadata"].get("labels") or {}), **labels}},
        "spec": spec,
    }


def _server(
    role: ServerRole,
    node: Mapping[str, Any],
    labels: Mapping[str, str],
    pool: ClusterConfig,
    environment: Mapping[str, str],
) -> Json:
    job = copy.deepcopy(dict(node))
    job["name"] = role.name
    job["replicas"] = 1
    # Trainer would take it for a role of the training itself.
    (job["template"].get("metadata") or {}).get("labels", {}).pop(_ANCESTOR, None)
    spec = job["template"]["spec"]
    spec |= {
        "parallelism": role.replicas,
        "completions": role.replicas,
        "completionMode": "Indexed",
        "backoffLimit": RESTARTS,
        "podFailurePolicy": {
            "rules": [
                # A drained or preempted server starts again, however often.
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [_WRONG_INPUT]},
                },
            ]
        },
    }
    metadata = spec["template"].setdefault("metadata", {})
    metadata["labels"] = {
        **(metadata.get("labels") or {}),
        "app.kubernetes.io/component": f"{role.name}-server",
        PART_OF: labels[PART_OF],
        RUN: labels[RUN],
        TASK: f"{role.name}-server",
        ROLE: "server",
    }
    pod = _pod(job)
    # Failed pods are kept, with their logs. The pods that replace them have the same host names.
    pod |= {"restartPolicy": "Never", "terminationGracePeriodSeconds": _STOP_SECONDS}
    if pool.node_selector:
        pod["nodeSelector"] = {**(pod.get("nodeSelector") or {}), **pool.node_selector}
    taints = [{name: value for name, value in taint.model_dump().items() if value} for taint in pool.tolerations]
    pod["tolerations"] = [*(pod.get("tolerations") or []), *taints]
    for volume in pod.get("volumes") or []:
        # Weights arrive in /dev/shm, which the limit of the pod's memory bounds.
        if (volume.get("emptyDir") or {}).get("medium") == "Memory":
            volume["emptyDir"].pop("sizeLimit", None)
    pod["containers"] = [
        _container(role, each, pool, environment) for each in pod["containers"] if each["name"] == NODE
    ]
    return job


def _container(role: ServerRole, node: Mapping[str, Any], pool: ClusterConfig, environment: Mapping[str, str]) -> Json:
    size = server_size(pool)
    amounts = {"cpu": size.cpu, "memory": size.memory}
    if role.devices:
        amounts[pool.gpu_type] = str(role.devices)
    # Caches of compiled kernels: the user has no entry in /etc/passwd, and the file system is read-only.
    caches = {"USER": "vicur", "VLLM_CACHE_ROOT": "/tmp/vllm", "TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor"}  # noqa: S108 (a volume)
    variables = {**caches, "TRITON_CACHE_DIR": "/tmp/triton", **environment, TASK_VARIABLE: role.task}  # noqa: S108
    own = [each for each in node.get("env") or [] if each["name"] not in variables]
    health = {"httpGet": {"path": "/health", "port": "http"}}
    return {
        **{name: copy.deepcopy(node[name]) for name in ("securityContext", "volumeMounts") if name in node},
        "name": CONTAINER,
        "image": role.image,
        "command": list(COMMAND),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        # Addresses, and the secret for S3, from which a server fetches its model. It does not log to MLflow.
        "envFrom": [
            source
            for source in copy.deepcopy(list(node.get("envFrom") or []))
            if "configMapRef" in source or source.get("secretRef", {}).get("name") == pool.secrets.storage
        ],
        "env": [*own, *({"name": name, "value": value} for name, value in sorted(variables.items())), *_key(pool)],
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": {
            **health,
            "periodSeconds": _PERIOD,
            "failureThreshold": max(1, round(role.start_minutes * 60 / _PERIOD)),
        },
        "readinessProbe": {**health, "periodSeconds": _PERIOD, "timeoutSeconds": 5},
        "livenessProbe": {**health, "periodSeconds": 2 * _PERIOD, "timeoutSeconds": 10, "failureThreshold": 6},
        "resources": {"requests": amounts, "limits": {**amounts, "cpu": size.cpu_limit}},
    }


def _key(pool: ClusterConfig) -> list[Json]:
    """Return the variable with the key that servers require of the nodes."""
    if not pool.secrets.servers:
        return []
    return [
        {
            "name": API_KEY_VARIABLE,
            "valueFrom": {"secretKeyRef": {"name": pool.secrets.servers, "key": API_KEY_VARIABLE}},
        }
    ]


def _pod(job: Mapping[str, Any]) -> Json:
    pod: Json = job["template"]["spec"]["template"]["spec"]
    return pod
