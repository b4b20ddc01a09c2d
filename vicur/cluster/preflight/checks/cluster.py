"""The cluster itself, and Kubeflow Pipelines on it."""

from __future__ import annotations

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.api_groups import ARGO, api_group, request_failed
from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.registry import check

OLDEST_KUBERNETES = (1, 29)
"""Oldest release that serves all API versions used in the manifests."""


@check("cluster", topic="cluster")
def _cluster(target: Target) -> Finding:
    return release(target.connection)


@check("pipelines", topic="cluster", requires=lambda _: "Kubeflow Pipelines")
def _pipelines(target: Target) -> Finding:
    return api_group(target.connection, ARGO)


def release(connection: ClusterConnection) -> Finding:
    """Check that the cluster responds and that its release is supported."""
    from kubernetes.client import ApiException, VersionApi

    api = VersionApi(connection.api())
    try:
        version = connection.call(api.get_code)
    except ApiException as error:
        return request_failed(
            error.status, "its release", "Log in again: the cluster rejects the kubeconfig's credentials."
        )
    message = f"Kubernetes {version.git_version} at {connection.api().configuration.host}"
    # Some providers append a plus sign ("33+").
    minor = int("".join(digit for digit in version.minor if digit.isdigit()) or 0)
    if (int(version.major), minor) < OLDEST_KUBERNETES:
        oldest = ".".join(map(str, OLDEST_KUBERNETES))
        return Finding("failed", f"{message} is not supported", f"Upgrade the cluster to Kubernetes {oldest} or later.")
    return Finding("ok", message)
