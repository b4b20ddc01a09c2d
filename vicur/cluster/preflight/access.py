"""What this account may do: asked of the cluster itself, for what a training on several nodes does there."""

from __future__ import annotations

from vicur.cluster.preflight.finding import Finding
from vicur.cluster.preflight.link import Link

NEEDED = (
    *(("trainer.kubeflow.org", "trainjobs", verb) for verb in ("create", "get", "list", "watch", "patch", "delete")),
    *(("", "pods", verb) for verb in ("get", "list")),
    ("", "pods/log", "get"),
    ("", "events", "list"),
)
"""Group, resource and verb of what launching a TrainJob and following it takes."""


def access(link: Link, namespace: str) -> Finding:
    """Whether this account may launch trainings on several nodes.

    Raises:
        NoClusterError: where there is no cluster.
    """
    from kubernetes.client import ApiException

    try:
        denied = [
            f"{verb} {resource}" for group, resource, verb in NEEDED if not _may(link, namespace, group, resource, verb)
        ]
    except ApiException as error:
        return Finding("failed", f"the cluster does not say what this account may do ({error.status})", "Log in again.")
    if denied:
        return Finding(
            "failed",
            f"in {namespace} this account may not {', '.join(denied)}",
            "Bind the Role of k8s/base/access to it; in a cluster, steps run as the service account vicur-pipeline.",
        )
    return Finding("ok", f"this account may launch and follow trainings in {namespace}")


def _may(link: Link, namespace: str, group: str, resource: str, verb: str) -> bool:
    from kubernetes.client import (
        AuthorizationV1Api,
        V1ResourceAttributes,
        V1SelfSubjectAccessReview,
        V1SelfSubjectAccessReviewSpec,
    )

    name, _, part = resource.partition("/")
    asked = V1ResourceAttributes(namespace=namespace, group=group, resource=name, subresource=part or None, verb=verb)
    review = V1SelfSubjectAccessReview(spec=V1SelfSubjectAccessReviewSpec(resource_attributes=asked))
    api = AuthorizationV1Api(link.api())
    return bool(link.ask(api.create_self_subject_access_review, review).status.allowed)
