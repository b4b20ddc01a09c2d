"""Settings of the workflow controller of Kubeflow Pipelines: which failures Argo retries, and how large a run may become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.registry import check

CONFIG_MAP = "workflow-controller-configmap"
DEPLOYMENT = "workflow-controller"
_SIZE = "MAX_WORKFLOW_SIZE"
_DEFAULT_SIZE = 2**20
_MIB = 2**20


@check("workflow controller", topic="cluster", requires=lambda _: "Kubeflow Pipelines")
def _workflow_controller(target: Target) -> Finding:
    return workflow_controller(target.connection, target.needs.pipelines_namespace)


def workflow_controller(connection: ClusterConnection, namespace: str) -> Finding:
    """Report which failures the workflow controller retries, and from what size of a run on its steps are no longer reported."""
    from kubernetes.client import ApiException, CoreV1Api

    try:
        found = connection.call(CoreV1Api(connection.api()).read_namespaced_config_map, CONFIG_MAP, namespace)
    except ApiException as error:
        return Finding(
            "warning",
            f"the ConfigMap {CONFIG_MAP} could not be read in the namespace {namespace} (HTTP {error.status}), "
            "so it is not known which failures Argo retries; steps retry inside their pods in any case",
            f"See 'kubectl get configmap {CONFIG_MAP} -n {namespace} -o yaml', or name the namespace of Kubeflow Pipelines: "
            "--need pipelines_namespace=NAME.",
        )
    policy, size = retry_policy(found.data or {}), _size_text(connection, namespace)
    if policy == "Always":
        return Finding(
            "warning",
            f"Argo retries each failure at every level of the graph (retryPolicy Always), which multiplies failed pods; {size}",
            f"Remove templateDefaults from workflowDefaults in the ConfigMap {CONFIG_MAP} of the namespace {namespace} (docs/doctor.md).",
        )
    if policy == "OnError":
        return Finding(
            "ok",
            "Argo starts pods again that were lost (retryPolicy OnError), but not containers that failed: "
            f"cluster.retries is done inside the step; {size}",
        )
    return Finding("ok", f"Argo retries lost pods and failed containers as cluster.retries says; {size}")


def retry_policy(data: Mapping[str, str]) -> str:
    """Return the retry policy that the ConfigMap's data gives every template, or an empty string."""
    try:
        # Settings are separate keys, or all in the key "config".
        settings = data if "workflowDefaults" in data else yaml.safe_load(data.get("config") or "") or {}
        defaults = settings.get("workflowDefaults") or {}
        found: Any = yaml.safe_load(defaults) if isinstance(defaults, str) else defaults
        for name in ("spec", "templateDefaults", "retryStrategy", "retryPolicy"):
            found = (found or {}).get(name)
    except (yaml.YAMLError, AttributeError):
        # Argo does not start with such a ConfigMap, so this is not the place to report it.
        return ""
    return str(found or "")


def _size_text(connection: ClusterConnection, namespace: str) -> str:
    """Say from what size of its status on a run's steps are no longer reported."""
    from kubernetes.client import ApiException, AppsV1Api

    try:
        found = connection.call(AppsV1Api(connection.api()).read_namespaced_deployment, DEPLOYMENT, namespace)
        variables = {each.name: each.value for each in found.spec.template.spec.containers[0].env or ()}
        value = str(variables.get(_SIZE) or _DEFAULT_SIZE)
    except ApiException as error:
        value, unread = str(_DEFAULT_SIZE), f" ({_SIZE} could not be read, HTTP {error.status}: the default)"
    else:
        unread = "" if _SIZE in variables else f" ({_SIZE}, the default)"
    size = f"{int(value) / _MIB:g} MiB" if value.isdigit() else value
    return f"above {size} of a workflow's status{unread}, Kubeflow Pipelines no longer reports steps"
