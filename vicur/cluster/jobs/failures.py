"""Report a job that did not succeed: its events, the end of each failed pod's log, and one error with the right exit status."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from vicur.cluster.jobs.api import KubernetesApi, role_of
from vicur.cluster.jobs.overrides import NODE
from vicur.cluster.jobs.servers import CONTAINER
from vicur.cluster.jobs.status import PodFailure, conditions, pod_failures
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE
from vicur.redaction import redacted

log = logging.getLogger(__name__)

_EVENTS = 10
_LINES = 25
WRONG_INPUT = 2
"""Exit status of a process that found its input invalid."""
# The process stopped itself after SIGTERM, or had no handler and was ended by the signal (128 + 15).
_STOPPED = (EXIT_CODE, 128 + 15)
_RESUMES = "A retry of the step resumes from the last checkpoint."


def log_failure(api: KubernetesApi, job: str, pods: Sequence[Mapping[str, Any]]) -> None:
    """Log a job's warning events and the end of each failed pod's log, or of all pods' logs if none failed."""
    for event in [event for event in api.events() if _concerns(event, job)][-_EVENTS:]:
        target = event["involvedObject"]
        # A message may quote a command line with a token in it.
        message = redacted(event["message"])
        log.error("%s %s: %s: %s", target.get("kind"), target.get("name"), event.get("reason"), message)
    failed = [failure.pod for failure in pod_failures(pods)]
    roles = {pod["metadata"]["name"]: role_of(pod) for pod in pods}
    for name in failed or list(roles):
        tail = api.tail(name, NODE if roles.get(name, NODE) == NODE else CONTAINER, _LINES).rstrip() or "(empty)"
        log.error("End of the log of %s:\n%s", name, redacted(tail))


def job_error(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> VicurError:
    """Return the error of a step whose job has failed. Its exit status is 75 if a retry can be expected to succeed."""
    where, condition = f"TrainJob {job['metadata']['name']}", conditions(job).get("Failed", {})
    if condition.get("reason") == "DeadlineExceeded":
        return timeout_error(
            where,
            "the cluster stopped the job at its deadline (activeDeadlineSeconds)",
            "cluster.training_timeout_hours",
        )
    if condition.get("reason") == "TrainingRuntimeNotSupported":
        return VicurError(
            f"the job cannot run ({condition.get('message')}).",
            where=where,
            remedy="Install the training runtime named by cluster.jobs.runtime (k8s/base/training).",
        )
    failures = pod_failures(pods)
    if not failures:
        reason = ": ".join(filter(None, (condition.get("reason"), condition.get("message")))) or "no reason given"
        return VicurError(
            f"the job failed ({reason}), and none of its pods exists any more.",
            where=where,
            remedy=f"See its events above. {_RESUMES}",
            exit_code=EXIT_CODE,
            retryable=True,
        )
    return _pod_error(where, min(failures, key=partial(_priority, str(condition.get("message")))))


def timeout_error(where: str, problem: str, setting: str) -> VicurError:
    """Return the error of a step whose job exceeded the time limit ``setting``."""
    return VicurError(
        f"{problem}.",
        where=where,
        remedy=f"See its events and the ends of its logs above. {_RESUMES} To allow more time, raise {setting}.",
        exit_code=EXIT_CODE,
        retryable=True,
    )


def _pod_error(where: str, failure: PodFailure) -> VicurError:
    problem = (
        f"{failure.place} exited with status {failure.code} ({failure.reason})."
        if failure.code
        else f"{failure.place} failed: {failure.reason}."
    )
    if failure.code == WRONG_INPUT and not failure.disrupted:
        remedy = "The end of its log above says what to correct. A retry does not help."
        return VicurError(problem, where=where, remedy=remedy, exit_code=WRONG_INPUT)
    if failure.reason == "OOMKilled":
        remedy = (
            "Raise the nodes' memory (cluster.gpu_steps.memory, without GPUs cluster.cpu_steps.memory), or run vicur plan for settings "
            "that need less."
            if failure.role == NODE
            else "Raise the servers' memory (cluster.servers.memory): it also holds the weights that a server is sent."
        )
        # The step would repeat the training, and need as much memory again.
        return VicurError(problem, where=where, remedy=remedy, exit_code=1)
    return VicurError(
        problem,
        where=where,
        remedy=f"See the end of its log above. {_RESUMES}",
        exit_code=EXIT_CODE if failure.disrupted or failure.code in _STOPPED else 1,
        retryable=True,
    )


def _priority(message: str, failure: PodFailure) -> tuple[bool, int, str]:
    # Invalid input comes first, then pods that the cluster removed, then the earliest failure: when one node fails, the others
    # lose their connection to it and fail as well. A server that failed was restarted, so it counts only if JobSet says that it ended the
    # job ("first failed job: JOB-rollout-0").
    survived = failure.role != NODE and f"-{failure.role}-0" not in message
    if failure.disrupted:
        return survived, 1, failure.at
    return survived, {WRONG_INPUT: 0}.get(failure.code or 0, 2), failure.at


def _concerns(event: Mapping[str, Any], job: str) -> bool:
    # The names of a job's pods and of its Kueue workload start with the job's name.
    name = event["involvedObject"].get("name") or ""
    return event.get("type") == "Warning" and (name == job or name.startswith((f"{job}-", f"trainjob-{job}-")))
