"""Retry requests to the Kubernetes API while the server is unavailable, and convert what it rejects to readable errors."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE

log = logging.getLogger(__name__)

Json = dict[str, Any]

CONNECT_SECONDS = 10.0
_CONFLICT = 409
_UNAVAILABLE = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Timing:
    """Intervals and time limits of requests, in seconds.

    Attributes:
        poll: longest time between two looks at an unchanged job.
        first_retry: pause before the first retry of a failed request; it doubles with each failure.
        longest_retry: longest pause between two retries.
        give_up: time that the server may be unavailable before the step fails.
        deletion: time to wait for a deleted job to disappear.
        log_poll: shortest time between two looks for new pods to read logs from.
        log_idle: time without a log line after which the log is requested again.
        log_drain: time to wait for the last lines of a job that has ended.
    """

    poll: float = 10.0
    first_retry: float = 1.0
    longest_retry: float = 30.0
    give_up: float = 600.0
    deletion: float = 20.0
    log_poll: float = 0.5
    log_idle: float = 300.0
    log_drain: float = 5.0


def call_with_retries(
    call: Callable[[], Any],
    timing: Timing,
    *,
    absent: tuple[int, ...] = (404,),
    give_up: float | None = None,
    raise_conflicts: bool = False,
) -> Json | None:
    """Return the server's response, or ``None`` if the requested object does not exist.

    Args:
        absent: statuses that mean "does not exist".
        give_up: overrides ``timing.give_up``.
        raise_conflicts: raise conflicts (409) instead of retrying, for callers that handle concurrent changes.

    Raises:
        VicurError: if the server is unavailable for too long or rejects the request.
        ApiException: for a conflict, with ``raise_conflicts``.
    """
    from kubernetes.client import ApiException

    give_up = timing.give_up if give_up is None else give_up
    deadline: float | None = None
    pause = timing.first_retry
    while True:
        try:
            response: Json | None = call()
            return response
        except ApiException as error:
            if error.status in absent:
                return None
            if error.status == _CONFLICT and raise_conflicts:
                raise
            if error.status not in (*_UNAVAILABLE, _CONFLICT):
                raise _rejected(error) from error
            reason, requested = f"{error.status} {error.reason}", _retry_after(error)
        except connection_errors() as error:
            reason, requested = str(error), 0.0
        now = time.monotonic()
        deadline = deadline or now + give_up
        if now >= deadline:
            raise _unavailable(reason, give_up)
        # Random, because many steps talk to the same server and should not all return at the same moment.
        wait = max(requested, pause * random.uniform(0.5, 1.0))  # noqa: S311 (no secret, and not part of a training)
        # The last retry happens at the deadline, even if the server requested a longer wait.
        wait = min(wait, deadline - now)
        log.warning("The Kubernetes API is unavailable (%s). Retrying in %.0f s.", reason, wait)
        time.sleep(wait)
        pause = min(2 * pause, timing.longest_retry)


def connection_errors() -> tuple[type[Exception], ...]:
    """Return the exception types of failed connections."""
    from urllib3.exceptions import HTTPError

    return (HTTPError, OSError)


def _retry_after(error: Any) -> float:
    try:
        return float((error.headers or {}).get("Retry-After") or 0)
    except ValueError:
        # The header may also hold a date.
        return 0.0


def _rejected(error: Any) -> VicurError:
    try:
        reason = json.loads(error.body)["message"]
    except (ValueError, TypeError, KeyError):
        reason = f"{error.status} {error.reason}"
    # Admission webhooks (Kubeflow Trainer's or the cluster's own) also respond with 403, although no right is missing.
    webhook = "admission webhook" in reason
    if error.status in (401, 403) and not webhook:
        problem = "denied the request"
        remedy = "Bind the Roles in k8s/base/access to the step's service account."
    elif error.status == 404:
        problem = "does not have the requested resource or namespace"
        remedy = "Correct cluster.namespace, or install Kubeflow Trainer 2."
    else:
        problem = "rejected the request"
        remedy = "Correct the setting that the message names, or the training runtime (k8s/base/training)."
    return VicurError(f"the cluster {problem} ({reason}).", where="cluster", remedy=remedy)


def _unavailable(reason: str, seconds: float) -> VicurError:
    return VicurError(
        f"the Kubernetes API has been unavailable for {seconds:.0f} s ({reason}).",
        where="cluster",
        remedy="Retry the step: it finds its job, or resumes from the last checkpoint.",
        exit_code=EXIT_CODE,
        retryable=True,
    )
