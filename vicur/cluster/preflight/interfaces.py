"""What the cluster offers: its own release, and the interfaces that Argo, Kueue and Kubeflow Trainer add to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from vicur.cluster.preflight.finding import Finding
from vicur.cluster.preflight.link import Link

OLDEST_KUBERNETES = (1, 29)
"""Oldest release whose interfaces are all there that the manifests use."""


@dataclass(frozen=True)
class Interface:
    """A group of custom resources.

    Attributes:
        group: its name.
        versions: those that are understood here, the best first.
        brought_by: what brings it.
        purpose: what it is needed for.
    """

    group: str
    versions: tuple[str, ...]
    brought_by: str
    purpose: str


ARGO = Interface("argoproj.io", ("v1alpha1",), "Kubeflow Pipelines (with Argo Workflows)", "running pipelines")
TRAINER = Interface("trainer.kubeflow.org", ("v1alpha1",), "Kubeflow Trainer 2", "training on several nodes")
KUEUE = Interface("kueue.x-k8s.io", ("v1beta2", "v1beta1"), "Kueue", "queues of GPUs")


def release(link: Link) -> Finding:
    """Whether the cluster answers, and its release.

    Raises:
        NoClusterError: where there is none.
    """
    from kubernetes.client import ApiException, VersionApi

    api = VersionApi(link.api())
    try:
        told = link.ask(api.get_code)
    except ApiException as error:
        return refused(
            error.status, "asking for its release", "Log in again: the credentials of the kubeconfig are not taken."
        )
    found = f"Kubernetes {told.git_version} at {link.api().configuration.host}"
    minor = int("".join(digit for digit in told.minor if digit.isdigit()) or 0)
    if (int(told.major), minor) < OLDEST_KUBERNETES:
        wanted = ".".join(map(str, OLDEST_KUBERNETES))
        return Finding("failed", f"{found} is too old", f"Upgrade to {wanted} or later.")
    return Finding("ok", found)


def interface(link: Link, wanted: Interface) -> Finding:
    """Whether the cluster serves a group of custom resources in a version that is understood here.

    Raises:
        NoClusterError: where there is no cluster.
    """
    from kubernetes.client import ApiException

    try:
        served = served_versions(link)
    except ApiException as error:
        return refused(error.status, "listing its interfaces", "Log in again.")
    versions = served.get(wanted.group, ())
    if not versions:
        return Finding(
            "failed",
            f"{wanted.group} is not served, which {wanted.purpose} needs",
            f"Install {wanted.brought_by} (docs/kubernetes.md).",
        )
    if version_of(versions, wanted) is None:
        return Finding(
            "failed",
            f"{wanted.group} is served as {', '.join(versions)}, and {' or '.join(wanted.versions)} is understood here",
            f"Install a release of {wanted.brought_by} that serves it, or a newer vicur.",
        )
    return Finding("ok", f"{wanted.group} {version_of(versions, wanted)}")


def served_versions(link: Link) -> Mapping[str, tuple[str, ...]]:
    """Versions of each group that the cluster serves.

    Raises:
        NoClusterError: where there is no cluster.
        kubernetes.client.ApiException: where it refuses.
    """
    from kubernetes.client import ApisApi

    listed = link.ask(ApisApi(link.api()).get_api_versions)
    return {group.name: tuple(each.version for each in group.versions) for group in listed.groups}


def version_of(served: tuple[str, ...], wanted: Interface) -> str | None:
    """The best version that is both served and understood."""
    return next((version for version in wanted.versions if version in served), None)


def refused(status: int, doing: str, remedy: str) -> Finding:
    """A finding on a request that the cluster refuses; ``remedy`` is for an account that is not known."""
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Finding(
            "failed", f"the cluster is in trouble at {doing} ({status})", "Try again; its administrator may know more."
        )
    return Finding("failed", f"the cluster refuses {doing} ({status})", remedy)
