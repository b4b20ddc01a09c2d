"""How a pipeline run ended, told to everyone who may ask: the tracking server, the event log, a webhook, and a line of text."""

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
from vicur.steps.stage_step import log_to_own_file
from vicur.tracking.runs import finish_pipeline, metric_total
from vicur.tracking.tracker import Status

log = logging.getLogger(__name__)

LABEL = "outcome"
# Of the SDK, of the API server's tasks, and of the metadata store of older servers.
_STATES: dict[str, Status] = {
    **dict.fromkeys(("SUCCEEDED", "COMPLETE", "CACHED"), "FINISHED"),
    **dict.fromkeys(("CANCELLED", "CANCELED"), "KILLED"),
}


def run_exit_step(state: str, message: str | None, tracking: Mapping[str, Any], pool: Mapping[str, Any]) -> str:
    """Closes the run's MLflow run with its true status, tells the event log and the webhook, and returns the outcome in words.

    In a cluster, training jobs that the run has left are removed, and the GPU-hours of its pods and their cost are recorded too. Who does
    not answer is told in the words and fails nothing: it may be the very reason for the outcome.

    Args:
        state: final state of the pipeline's body, as the platform calls it.
        message: what the platform says of a failure.
        tracking: the tracking section of the configuration.
        pool: the cluster section, with the prices.
    """
    log_to_own_file(LABEL)
    run_id, troubles = run_id_from_environment(), list[str]()
    message = None if message is None else redacted(message)

    def attempt(what: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except VicurError as error:
            log.warning("%s", error)
            troubles.append(f"{what}: {error}")
        except Exception as error:  # what is told after it must be told whatever was not foreseen here
            log.exception("%s", what)
            troubles.append(f"{what} ({type(error).__name__}: the step's log has more).")
        return None

    attempt("What its trainings left could not be removed", lambda: _reap(run_id))
    launched = attempt("The GPU-hours of its jobs are not known", lambda: _launched(run_id, tracking)) or 0.0
    usage: Usage | None = attempt("Its GPU-hours could not be counted", lambda: _usage(run_id, pool, launched))
    words = f"The run ended: {state.lower()}." + (f" {message}" if message else "")
    words += f" It used {usage.words}." if usage is not None else ""
    attempt("It could not be recorded in MLflow", lambda: _finish(run_id, state, tracking, usage))
    event = {"run_id": run_id, "state": state, "message": message, **_figures(usage)}
    attempt("The webhook could not be told", lambda: call_webhook(event))
    words = " ".join([words, *troubles])
    Events.from_environment(LABEL).emit("finished", words, summary={"state": state, **_figures(usage)})
    return words


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
        log.warning("removed TrainJob %s, which a step had left", name)


def _finish(run_id: str, state: str, tracking: Mapping[str, Any], usage: Usage | None) -> None:
    config = validated(TrackingConfig, dict(tracking), "tracking")
    finish_pipeline(config, run_id, _STATES.get(state, "FAILED"), metrics=_figures(usage))


def _figures(usage: Usage | None) -> dict[str, float]:
    if usage is None:
        return {}
    cost = {} if usage.cost is None else {f"usage/cost_{usage.currency.lower()}": usage.cost}
    return {GPU_HOURS: usage.gpu_hours, **cost}
