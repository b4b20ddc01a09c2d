"""What is told of a job that did not end well: events, the end of each failed pod's log, and one error with the right exit status."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from vicur.cluster.jobs.api import Api
from vicur.cluster.jobs.overrides import NODE
from vicur.cluster.jobs.state import PodEnd, bad_ends, conditions
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE
from vicur.redaction import redacted

log = logging.getLogger(__name__)

_EVENTS = 10
_LINES = 25
WRONG_INPUT = 2
"""Exit status of what finds its input at fault."""
# By its own account, or because the signal that asks a process to stop ended it.
_STOPPED = (EXIT_CODE, 128 + 15)
_GOES_ON = "Given again, the step goes on from the last checkpoint."


def tell_of(api: Api, job: str, pods: Sequence[Mapping[str, Any]]) -> None:
    """Logs a job's events and the end of the log of each pod that failed, or of all where none did."""
    warnings = [event for event in api.events() if _concerns(event, job)][-_EVENTS:]
    for event in warnings:
        about = event["involvedObject"]
        log.error(
            "%s %s: %s: %s", about.get("kind"), about.get("name"), event.get("reason"), redacted(event["message"])
        )
    failed = [end.pod for end in bad_ends(pods)]
    for name in failed or [pod["metadata"]["name"] for pod in pods]:
        tail = api.tail(name, NODE, _LINES).rstrip() or "(it wrote nothing)"
        log.error("the end of the log of %s:\n%s", name, redacted(tail))


def failure(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> VicurError:
    """The error that ends a step whose job has failed.

    The node that found the input at fault counts first, then one that the cluster took away, then the first that ended: those beside it
    only lost it. The exit status is 75 where nothing is wrong and a retry goes on.
    """
    where, said = f"TrainJob {job['metadata']['name']}", conditions(job).get("Failed", {})
    if said.get("reason") == "DeadlineExceeded":
        return out_of_time(
            where, "was ended by the cluster at its deadline (activeDeadlineSeconds)", "cluster.training_timeout_hours"
        )
    if said.get("reason") == "TrainingRuntimeNotSupported":
        return VicurError(
            f"cannot be run ({said.get('message')}).",
            where=where,
            remedy="Install the training runtime that cluster.jobs.runtime names (k8s/base/training).",
        )
    ends = bad_ends(pods)
    if not ends:
        words = ": ".join(filter(None, (said.get("reason"), said.get("message")))) or "no reason is given"
        return VicurError(
            f"failed, and none of its pods is left to say why ({words}).",
            where=where,
            remedy=f"Its events stand above. {_GOES_ON}",
            exit_code=EXIT_CODE,
            retryable=True,
        )
    end = min(ends, key=_rank)
    words = (
        f"node {end.node} ended with status {end.code} ({end.reason})" if end.code else f"node {end.node}: {end.reason}"
    )
    if end.code == WRONG_INPUT and not end.disrupted:
        remedy = "The end of its log stands above and says what to correct; retrying does not help."
        return VicurError(f"{words}.", where=where, remedy=remedy, exit_code=WRONG_INPUT)
    if end.reason == "OOMKilled":
        remedy = "Give the nodes more memory (cluster.gpu_steps.memory), or see vicur plan for what takes less."
        return VicurError(f"{words}.", where=where, remedy=remedy, exit_code=1, retryable=True)
    passing = end.disrupted or end.code in _STOPPED
    return VicurError(
        f"{words}.",
        where=where,
        remedy=f"The end of its log stands above. {_GOES_ON}",
        exit_code=EXIT_CODE if passing else 1,
        retryable=True,
    )


def out_of_time(where: str, what: str, setting: str) -> VicurError:
    """The error that ends a step whose job took too long."""
    return VicurError(
        f"{what}.",
        where=where,
        remedy=f"Its events and the ends of its logs stand above. {_GOES_ON} A longer time is set by {setting}.",
        exit_code=EXIT_CODE,
        retryable=True,
    )


def _rank(end: PodEnd) -> tuple[int, str]:
    if end.disrupted:
        return 1, end.at
    return {WRONG_INPUT: 0}.get(end.code or 0, 2), end.at


def _concerns(event: Mapping[str, Any], job: str) -> bool:
    """Whether an event is a warning about a job or what belongs to it: their names begin with its own."""
    name = event["involvedObject"].get("name") or ""
    return event.get("type") == "Warning" and (name == job or name.startswith((f"{job}-", f"trainjob-{job}-")))
