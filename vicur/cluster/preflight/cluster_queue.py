"""Kueue's ClusterQueue: the quota that the pods of a LocalQueue share."""

# Apart from the check of the LocalQueue: tests/k8s derives the rights of the pipeline's account from each module's calls.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.amounts import Amounts, amounts_text, lacking, parsed, requested, steps_text, times
from vicur.cluster.preflight.api_groups import KUEUE
from vicur.cluster.preflight.check import Finding
from vicur.config.preflight import StepRequest


def quota_for(connection: ClusterConnection, version: str, name: str, steps: Sequence[StepRequest]) -> Finding:
    """Check that a ClusterQueue has a quota for each of the queued steps."""
    from kubernetes.client import ApiException, CustomObjectsApi

    api = CustomObjectsApi(connection.api())
    try:
        found = connection.call(api.get_cluster_custom_object, KUEUE.name, version, "clusterqueues", name)
    except ApiException as error:
        return Finding(
            "warning",
            f"the queue accepts work, but the quota of its ClusterQueue {name} cannot be read (HTTP {error.status})",
            f"Compare 'kubectl describe clusterqueue {name}' with the queued pods: {_queued_text(steps)}.",
        )
    problem = first_problem(found, steps)
    return problem or Finding(
        "ok", f"the queue accepts work, and its ClusterQueue {name} has a quota for each queued step"
    )


def first_problem(cluster_queue: Mapping[str, Any], steps: Sequence[StepRequest]) -> Finding | None:
    """Return why Kueue would never admit one of the steps, or ``None``."""
    name, spec = cluster_queue["metadata"]["name"], cluster_queue.get("spec", {})
    groups = spec.get("resourceGroups", [])
    # Kueue v1beta1 calls it cohort, v1beta2 cohortName. A queue in a cohort may borrow what the others leave.
    borrows = bool(spec.get("cohortName") or spec.get("cohort"))
    for step in steps:
        needed = times(requested(step), step.pods)
        covered = {each for group in groups for each in group.get("coveredResources", [])}
        if missing := sorted(needed.keys() - covered):
            return Finding(
                "failed",
                f"the ClusterQueue {name} does not cover {' and '.join(missing)}, "
                f"which {steps_text(step)} requests, so Kueue never admits it",
                "Add it to the coveredResources of the ClusterQueue (k8s/components/queues).",
            )
        for group in groups:
            part = {each: needed[each] for each in group.get("coveredResources", []) if each in needed}
            quotas = [_quota_of(flavor) for flavor in group.get("flavors", [])]
            if part and all(lacking(part, each) for each in quotas):
                best = max(quotas, key=lambda each: min(float(each.get(key, 0)) for key in part), default={})
                return Finding(
                    "warning" if borrows else "failed",
                    f"no flavor of the ClusterQueue {name} has a quota for {steps_text(step)}: it needs {amounts_text(part, part)}, "
                    f"and the largest quota is {amounts_text(best, part)}",
                    f"Lower {step.setting}, cluster.gpu_count or cluster.nodes, or have the quota raised. "
                    f"Until then, Kueue does not admit it{', unless it can borrow' if borrows else ''}.",
                )
    return None


def _quota_of(flavor: Mapping[str, Any]) -> Amounts:
    return parsed({each["name"]: each.get("nominalQuota", 0) for each in flavor.get("resources", [])})


def _queued_text(steps: Sequence[StepRequest]) -> str:
    needed = ((step, times(requested(step), step.pods)) for step in steps)
    return "; ".join(f"{steps_text(step)} {amounts_text(amounts, amounts)}" for step, amounts in needed)
