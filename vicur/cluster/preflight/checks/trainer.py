"""Trainings as TrainJobs: Kubeflow Trainer, and the account's rights to create and follow its jobs."""

from __future__ import annotations

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.api_groups import TRAINER, api_group
from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.registry import check

NEEDED = (
    *(("trainer.kubeflow.org", "trainjobs", verb) for verb in ("create", "get", "list", "watch", "patch", "delete")),
    *(("", "pods", verb) for verb in ("get", "list")),
    ("", "pods/log", "get"),
    ("", "events", "list"),
)
"""Group, resource and verb of each right that creating and following a TrainJob takes."""
FOR_SERVERS = tuple(("trainer.kubeflow.org", "trainingruntimes", verb) for verb in ("create", "get", "patch"))
"""The rights that one with servers takes in addition."""


def _as_job(target: Target) -> bool:
    return target.needs.trainer or (target.needs.pool is not None and target.needs.pool.nodes > 1)


@check("trainer", topic="cluster", when=_as_job, requires=lambda _: "Kubeflow Trainer 2")
def _trainer(target: Target) -> Finding:
    return api_group(target.connection, TRAINER)


@check(
    "access",
    topic="cluster",
    when=_as_job,
    requires=lambda _: "the right to create TrainJobs (k8s/base/access)",
)
def _access(target: Target) -> Finding:
    return access(target.connection, target.needs.namespace, servers=target.needs.servers)


def access(connection: ClusterConnection, namespace: str, *, servers: bool = False) -> Finding:
    """Check that this account may run trainings as TrainJobs."""
    from kubernetes.client import ApiException

    try:
        denied = [
            f"{verb} {resource}"
            for group, resource, verb in (*NEEDED, *(FOR_SERVERS if servers else ()))
            if not _is_allowed(connection, namespace, group, resource, verb)
        ]
    except ApiException as error:
        return Finding(
            "failed",
            f"the cluster does not say what this account is allowed to do (HTTP {error.status})",
            "Log in to the cluster again.",
        )
    if denied:
        return Finding(
            "failed",
            f"in the namespace {namespace} this account may not {', '.join(denied)}",
            "Bind the Role in k8s/base/access to it. In a cluster, steps run as the service account vicur-pipeline.",
        )
    return Finding("ok", f"this account may create and follow trainings in the namespace {namespace}")


def _is_allowed(connection: ClusterConnection, namespace: str, group: str, resource: str, verb: str) -> bool:
    from kubernetes.client import (
        AuthorizationV1Api,
        V1ResourceAttributes,
        V1SelfSubjectAccessReview,
        V1SelfSubjectAccessReviewSpec,
    )

    # A review by the server covers rights from any Role, group or webhook, which no list of Roles would.
    name, _, part = resource.partition("/")
    right = V1ResourceAttributes(namespace=namespace, group=group, resource=name, subresource=part or None, verb=verb)
    review = V1SelfSubjectAccessReview(spec=V1SelfSubjectAccessReviewSpec(resource_attributes=right))
    api = AuthorizationV1Api(connection.api())
    return bool(connection.call(api.create_self_subject_access_review, review).status.allowed)
