"""The exit step: report how a run ended to MLflow, the event log and the webhook."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from vicur.cluster.jobs.api import KubernetesApi
from vicur.cluster.jobs.cleanup import delete_jobs
from vicur.cluster.jobs.client import connect
from vicur.cluster.pods import in_cluster, pods_of_run
from vicur.cluster.usage import GPU_HOURS, Usage, usage_of
from vicur.cluster.webhook import call_webhook
from vicur.config.cluster import ClusterConfig
from vicur.config.tracking import TrackingConfig
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.stage.events import Events
from vicur.stage.session import run_id_from_environment
from vicur.steps.stage_step import begin
from vicur.tracking.runs import finish_pipeline, metric_total
from vicur.tracking.tracker import Status

log = logging.getLogger(__name__)

LABEL = "outcome"
# States of the SDK, of the API server's tasks, and of the metadata store of older servers.
_STATES: dict[str, Status] = {
    **dict.fromkeys(("SUCCEEDED", "COMPLETE", "CACHED"), "FINISHED"),
    **dict.fromkeys(("CANCELLED", "CANCELED"), "KILLED"),
}


def run_exit_step(state: str, message: str | None, tracking: Mapping[str, Any], pool: Mapping[str, Any]) -> str:
    """Record the outcome of a run in MLflow and at the webhook, and return a description of it.

    In a cluster, also remove training jobs that the run left behind, and record the GPU-hours of its pods and their cost. ``state`` and
    ``message`` are those of the platform; ``pool`` has settings of the section ``cluster``.
    """
    begin(LABEL)
    run_id, problems = run_id_from_environment(), list[str]()
    message = None if message is None else redacted(message)

    def attempt(failure: str, action: Callable[[], Any]) -> Any:
        # A server that does not answer may be the reason for the outcome, so no failure here keeps the rest from being reported.
        try:
            return action()
        except VicurError as error:
            log.warning("%s: %s", failure, error)
            problems.append(f"{failure}: {error}")
        except Exception as error:
            log.exception("%s", failure)
            problems.append(f"{failure} ({type(error).__name__}; see the log of this step).")
        return None

    attempt("Training jobs of the run could not be removed", lambda: _reap(run_id))
    launched = attempt("The GPU-hours of training jobs are unknown", lambda: _launched(run_id, tracking)) or 0.0
    usage: Usage | None = attempt("The GPU-hours could not be computed", lambda: _usage(run_id, pool, launched))
    text = f"The run ended: {state.lower()}." + (f" {message}" if message else "")
    text += f" It used {usage.text}." if usage is not None else ""
    attempt("The outcome could not be recorded in MLflow", lambda: _finish(run_id, state, tracking, usage))
    event = {"run_id": run_id, "state": state, "message": message, **_metrics(usage)}
    attempt("The webhook could not be called", lambda: call_webhook(event))
    text = " ".join([text, *problems])
    Events.from_environment(LABEL).emit("finished", text, summary={"state": state, **_metrics(usage)})
    return text


def _usage(run_id: str, pool: Mapping[str, Any], launched: float) -> Usage | None:
    if not in_cluster():
        return None
    return usage_of(pods_of_run(run_id), validated(ClusterConfig, dict(pool), "cluster"), datetime.now(UTC), launched)


def _launched(run_id: str, tracking: Mapping[str, Any]) -> float:
    if not in_cluster():
        return 0.0
    return metric_total(validated(TrackingConfig, dict(tracking), "tracking"), run_id, GPU_HOURS)


def _reap(run_id: str) -> None:
    if not in_cluster():
        return
    client, location = connect()
    for name in delete_jobs(KubernetesApi(client, location.namespace), run_id):
        log.warning("removed TrainJob %s, which a step left behind", name)


def _finish(run_id: str, state: str, tracking: Mapping[str, Any], usage: Usage | None) -> None:
    config = validated(TrackingConfig, dict(tracking), "tracking")
    finish_pipeline(config, run_id, _STATES.get(state, "FAILED"), metrics=_metrics(usage))


def _metrics(usage: Usage | None) -> dict[str, float]:
    if usage is None:
        return {}
    cost = {} if usage.cost is None else {f"usage/cost_{usage.currency.lower()}": usage.cost}
    return {GPU_HOURS: usage.gpu_hours, **cost}
