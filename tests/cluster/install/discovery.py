"""Discovery of a Kubernetes API server: the kinds that it serves, and where. The answers are of the form that kubectl falls back to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
_CLUSTER_WIDE = {
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterQueue",
    "ResourceFlavor",
    "WorkloadPriorityClass",
}
_CORE = (
    "ConfigMap",
    "Event",
    "LimitRange",
    "Namespace",
    "Node",
    "PersistentVolumeClaim",
    "Pod",
    "ResourceQuota",
    "Secret",
    "Service",
    "ServiceAccount",
)
KINDS = {
    "v1": _CORE,
    "apps/v1": ("Deployment", "ReplicaSet", "StatefulSet"),
    "batch/v1": ("Job",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "policy/v1": ("PodDisruptionBudget",),
    "rbac.authorization.k8s.io/v1": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "argoproj.io/v1alpha1": ("Workflow",),
    "kueue.x-k8s.io/v1beta2": ("ClusterQueue", "LocalQueue", "ResourceFlavor", "WorkloadPriorityClass"),
    "trainer.kubeflow.org/v1alpha1": ("ClusterTrainingRuntime", "TrainingRuntime", "TrainJob"),
}
"""Kinds that a cluster with Kubeflow Pipelines, Kueue and Trainer serves, by apiVersion."""


_VERSION = ("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion", "platform")


def plural(kind: str) -> str:
    """Return the name of a kind in addresses."""
    lower = kind.lower()
    if lower.endswith("y"):
        return f"{lower[:-1]}ies"
    return f"{lower}es" if lower.endswith("s") else f"{lower}s"


def discovery(kinds: dict[str, tuple[str, ...]], url: str) -> Json | None:
    """Return the answer to a request of kubectl's discovery; ``None`` for any other request."""
    if url == "/version":
        return {"gitVersion": "v1.35.0", **dict.fromkeys(_VERSION, "x"), "major": "1", "minor": "35"}
    if url == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if url == "/apis":
        groups = []
        for each in (version for version in kinds if "/" in version):
            name, _, version = each.partition("/")
            served = {"groupVersion": each, "version": version}
            groups.append({"name": name, "versions": [served], "preferredVersion": served})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if url == "/openapi/v3":
        return {"paths": {_base(each).strip("/"): {"serverRelativeURL": f"/openapi/v3{_base(each)}"} for each in kinds}}
    for version, served in kinds.items():
        if url == _base(version):
            verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
            resources = [
                {
                    "name": plural(k),
                    "singularName": k.lower(),
                    "namespaced": k not in _CLUSTER_WIDE,
                    "kind": k,
                    "verbs": verbs,
                }
                for k in served
            ]
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
        if url == f"/openapi/v3{_base(version)}":
            return {
                "openapi": "3.0.0",
                "info": {"title": "double", "version": "1"},
                "paths": dict(_paths(version, served)),
            }
    return None


def _base(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _paths(version: str, served: tuple[str, ...]) -> Iterator[tuple[str, Json]]:
    """Yield the part of a schema from which kubectl concludes that the server validates fields itself."""
    group, _, number = version.rpartition("/")
    for kind in served:
        key = {"group": group, "version": number, "kind": kind}
        parameters = [
            {"name": name, "in": "query", "schema": {"type": "string"}} for name in ("dryRun", "fieldValidation")
        ]
        yield (
            f"{_base(version)}/{plural(kind)}/{{name}}",
            {"patch": {"parameters": parameters, "x-kubernetes-group-version-kind": key}},
        )
