"""API groups that Argo, Kueue and Kubeflow Trainer add to a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.check import Finding


@dataclass(frozen=True)
class ApiGroup:
    """A group of custom resources.

    Attributes:
        name: its name.
        versions: supported versions, preferred first.
        product: software that installs it.
        purpose: what a run needs it for.
    """

    name: str
    versions: tuple[str, ...]
    product: str
    purpose: str


ARGO = ApiGroup("argoproj.io", ("v1alpha1",), "Kubeflow Pipelines (with Argo Workflows)", "running pipelines")
TRAINER = ApiGroup("trainer.kubeflow.org", ("v1alpha1",), "Kubeflow Trainer 2", "trainings as TrainJobs")
KUEUE = ApiGroup("kueue.x-k8s.io", ("v1beta2", "v1beta1"), "Kueue", "queues of GPUs")


def api_group(connection: ClusterConnection, group: ApiGroup) -> Finding:
    """Check that the cluster serves a group in a supported version."""
    from kubernetes.client import ApiException

    try:
        served = served_versions(connection)
    except ApiException as error:
        return request_failed(error.status, "the list of its API groups", "Log in to the cluster again.")
    versions = served.get(group.name, ())
    if not versions:
        return Finding(
            "failed",
            f"the cluster does not serve {group.name}, which is required for {group.purpose}",
            f"Install {group.product} (docs/kubernetes.md).",
        )
    version = preferred_version(versions, group)
    if version is None:
        return Finding(
            "failed",
            f"the cluster serves {group.name} as {', '.join(versions)}, but vicur supports {' and '.join(group.versions)}",
            f"Install a release of {group.product} that serves one of these, or a newer vicur.",
        )
    return Finding("ok", f"{group.name} {version}")


def served_versions(connection: ClusterConnection) -> Mapping[str, tuple[str, ...]]:
    """Return the served versions of each API group."""
    from kubernetes.client import ApisApi

    listed = connection.call(ApisApi(connection.api()).get_api_versions)
    return {group.name: tuple(each.version for each in group.versions) for group in listed.groups}


def preferred_version(served: tuple[str, ...], group: ApiGroup) -> str | None:
    """Return the preferred version of those that are both served and supported."""
    return next((version for version in group.versions if version in served), None)


def request_failed(status: int, requested: str, remedy: str) -> Finding:
    """Return the finding for a failed request; ``remedy`` applies if the cluster denied it."""
    # An overloaded or broken server says nothing about the account, so the remedy must not blame the credentials.
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Finding(
            "failed",
            f"the cluster failed to return {requested} (HTTP {status})",
            "Try again later, or contact its administrator.",
        )
    return Finding("failed", f"the cluster denied access to {requested} (HTTP {status})", remedy)
