"""The namespace's quotas and its limits for a single pod."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.amounts import amount_text, limited, parsed, requested, steps_text, times
from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.registry import check
from vicur.config.preflight import GpuPool, PreflightConfig, StepRequest

_OTHER_PODS = {"BestEffort", "NotTerminating", "PriorityClass", "CrossNamespacePodAffinity", "VolumeAttributesClass"}
"""Scopes of quotas that do not count our pods, which have requests, a time limit and no priority class."""


def _requirement(target: Target) -> str:
    pool = target.needs.pool
    gpus = f", with a quota of {pool.all_gpus} {pool.resource}" if pool else ""
    return f"the namespace {target.needs.namespace}{gpus}"


@check(
    "quota", topic="cluster", when=lambda target: bool(target.needs.pool or target.needs.steps), requires=_requirement
)
def _quota(target: Target) -> Finding:
    return quota(target.connection, target.needs)


@check("limits", topic="cluster", when=lambda target: bool(target.needs.steps), requires=_requirement)
def _limits(target: Target) -> Finding:
    return limits(target.connection, target.needs)


def quota(connection: ClusterConnection, needs: PreflightConfig) -> Finding:
    """Check that the quotas of a namespace leave the pods of a run their resources."""
    from kubernetes.client import ApiException, CoreV1Api

    namespace = needs.namespace
    try:
        listed = connection.call(CoreV1Api(connection.api()).list_namespaced_resource_quota, namespace)
    except ApiException as error:
        return Finding(
            "warning",
            f"the quotas of the namespace {namespace} cannot be listed (HTTP {error.status})",
            f"See 'kubectl describe quota -n {namespace}'.",
        )
    return check_quotas(namespace, needs.pool, listed.items, needs.steps)


@dataclass(frozen=True)
class _Need:
    """What a quota must allow: its key, the resource and amount, the reason, and how to need less."""

    key: str
    name: str
    amount: Decimal
    reason: str
    remedy: str


def check_quotas(
    namespace: str, pool: GpuPool | None, quotas: Sequence[Any], steps: Sequence[StepRequest] = ()
) -> Finding:
    """Check quotas (``V1ResourceQuota``)."""
    short: list[Finding] = []
    for each in filter(_counts_our_pods, quotas):
        hard, used = parsed(each.status.hard), parsed(each.status.used)
        for need in (need for need in _needs(pool, steps) if need.key in hard):
            where, name = f"the quota {each.metadata.name} of the namespace {namespace}", need.name
            left = hard[need.key] - used.get(need.key, 0)
            if hard[need.key] < need.amount:
                allowed = f"{where} allows {amount_text(name, hard[need.key])}, but {need.reason}"
                return Finding("failed", allowed, f"{need.remedy}, or have the quota raised.")
            if left < need.amount:
                short.append(
                    Finding(
                        "warning",
                        f"{where} has {amount_text(name, left).split()[0]} of {amount_text(name, hard[need.key])} left, but {need.reason}",
                        "The cluster rejects the run's pods until other pods end. Wait for them, or have the quota raised.",
                    )
                )
    subject = f"{pool.all_gpus} {pool.resource}" if pool else "the steps"
    return short[0] if short else Finding("ok", f"{subject} are within the quotas of the namespace {namespace}")


def _needs(pool: GpuPool | None, steps: Sequence[StepRequest]) -> Iterator[_Need]:
    if pool is not None:
        gpus = Decimal(pool.all_gpus)
        reason, remedy = f"{gpus} are required", "Request fewer GPUs (cluster.gpu_count)"
        if pool.server_gpus:
            reason += f", {pool.server_gpus} of them by the servers of the training"
            remedy = (
                "Request fewer GPUs (cluster.gpu_count, or replicas and tensor_parallel of training.rollout.engine and "
                "training.teacher.engine)"
            )
        yield _Need(f"requests.{pool.resource}", pool.resource, gpus, reason, remedy)
    for step in steps:
        pods = "each pod" if step.pods == 1 else f"the total of the {step.pods} pods"
        requests, bounds = (times(amounts(step), step.pods) for amounts in (requested, limited))
        for prefix, verb, of_step in (
            ("", "requests", requests),
            ("requests.", "requests", requests),
            ("limits.", "has a limit of", bounds),
        ):
            for name in ("cpu", "memory"):
                reason = f"{pods} of {steps_text(step)} {verb} {amount_text(name, of_step[name])}"
                yield _Need(f"{prefix}{name}", name, of_step[name], reason, f"Lower {step.setting}.{name}")


def _counts_our_pods(quota: Any) -> bool:
    selector = getattr(quota.spec, "scope_selector", None)
    scopes = {each.scope_name for each in (selector.match_expressions or ())} if selector else set()
    return not (scopes | set(getattr(quota.spec, "scopes", None) or ())) & _OTHER_PODS


def limits(connection: ClusterConnection, needs: PreflightConfig) -> Finding:
    """Check that the limits of a namespace (``LimitRange``) admit the pods of a run."""
    from kubernetes.client import ApiException, CoreV1Api

    namespace = needs.namespace
    try:
        listed = connection.call(CoreV1Api(connection.api()).list_namespaced_limit_range, namespace)
    except ApiException as error:
        return Finding(
            "warning",
            f"the limits of the namespace {namespace} cannot be listed (HTTP {error.status})",
            f"See 'kubectl describe limitrange -n {namespace}'.",
        )
    return check_limits(namespace, listed.items, needs.steps)


def check_limits(namespace: str, ranges: Sequence[Any], steps: Sequence[StepRequest]) -> Finding:
    """Check the limits for a container and for a pod (``V1LimitRange``)."""
    for each in ranges:
        for limit in each.spec.limits or ():
            if limit.type not in ("Container", "Pod"):
                continue
            for step in steps:
                if problem := _outside(step, limit):
                    return Finding(
                        "failed",
                        f"{steps_text(step)}: {problem} of a {limit.type.lower()} in the namespace {namespace} "
                        f"(LimitRange {each.metadata.name})",
                        f"Set {step.setting} to amounts within it, compile the package again, or have the limit changed.",
                    )
    return Finding("ok", f"the limits of the namespace {namespace} admit each step")


def _outside(step: StepRequest, limit: Any) -> str:
    """Return what a limit (``V1LimitRangeItem``) does not admit of a step, or an empty string."""
    lower, upper = requested(step), limited(step)
    least, most, ratios = (parsed(each) for each in (limit.min, limit.max, limit.max_limit_request_ratio))
    for name in ("cpu", "memory"):
        if name in most and upper[name] > most[name]:
            return (
                f"the limit of {amount_text(name, upper[name])} exceeds the maximum of {amount_text(name, most[name])}"
            )
        if name in least and lower[name] < least[name]:
            return f"the request of {amount_text(name, lower[name])} is below the minimum of {amount_text(name, least[name])}"
        if name in ratios and upper[name] > ratios[name] * lower[name]:
            return f"the {name} limit is more than {ratios[name]:g} times the request, which is the maximum"
    return ""
