"""The exit step: find out how a run ended, and report it to MLflow, the event log and the webhook."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from vicur.cluster.evidence import Conclusion, Evidence, Verdict, conclude, verdict_of_state
from vicur.cluster.jobs.api import KubernetesApi
from vicur.cluster.jobs.cleanup import delete_jobs
from vicur.cluster.jobs.client import connect
from vicur.cluster.jobs.retries import Timing
from vicur.cluster.kfp_run import evidence_of_run, run_at_kfp
from vicur.cluster.pod_evidence import MAIN, evidence_of_pods
from vicur.cluster.pods import RUN_LABEL, in_cluster
from vicur.cluster.usage import GPU_HOURS, Usage, usage_of
from vicur.cluster.webhook import call_webhook
from vicur.cluster.workflow import evidence_of_workflow, workflow_of_run
from vicur.config.cluster import ClusterConfig
from vicur.config.tracking import TrackingConfig
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.processes.retrying import retried
from vicur.redaction import redacted
from vicur.stage.events import Events
from vicur.stage.session import run_id_from_environment
from vicur.stage.table import LAST_STEPS
from vicur.steps.stage_step import begin, step_policy
from vicur.tracking.runs import finish_pipeline, metric_total, stage_statuses
from vicur.tracking.tracker import Status

log = logging.getLogger(__name__)

LABEL = "outcome"
# The step retries its calls itself.
_TIMING = Timing(give_up=30.0)
_LOG_LINES = 200
_STATUSES: dict[Verdict | None, Status] = {"succeeded": "FINISHED", "failed": "FAILED", "terminated": "KILLED"}
# The names of the platform's API, for webhooks.
_STATES: dict[Verdict | None, str] = {"succeeded": "SUCCEEDED", "failed": "FAILED", "terminated": "CANCELED"}

T = TypeVar("T")


def run_exit_step(state: str, message: str | None, tracking: Mapping[str, Any], pool: Mapping[str, Any]) -> str:
    """Record the outcome of a run in MLflow and at the webhook, and return a description of it.

    In a cluster, also remove training jobs that the run left behind, and record the GPU-hours of its pods and their cost. A run whose
    outcome is unknown is recorded as FAILED, so that nobody takes it for a success.

    Args:
        state: state of the platform, which may be RUNNING although all steps have ended.
        message: message of the platform; Kubeflow Pipelines 2.17 has none.
        pool: settings of the section ``cluster``.
    """
    begin(LABEL)
    step = _ExitStep(run_id_from_environment(), tracking)
    return step.run(state, None if message is None else redacted(message), pool)


class _ExitStep:
    """Calls servers that may be the reason for the outcome, so that no failure keeps the rest from being reported."""

    def __init__(self, run_id: str, tracking: Mapping[str, Any]) -> None:
        self._run_id = run_id
        self._settings = tracking
        self._events = Events.from_environment(LABEL)
        self._problems: list[str] = []

    def run(self, state: str, message: str | None, pool: Mapping[str, Any]) -> str:
        self._try("Training jobs of the run could not be removed", self._reap)
        pods = self._try("The pods of the run are unknown", self._pods)
        usage = None if pods is None else self._usage(pods, pool)
        conclusion = self._conclusion(state, pods or [])
        text = conclusion.text + (f" {message}" if message else "")
        text += f" It used {usage.text}." if usage is not None else ""
        status = _STATUSES.get(conclusion.verdict, "FAILED")
        self._try(
            "The outcome could not be recorded in MLflow",
            lambda: finish_pipeline(
                self._tracking(), self._run_id, status, metrics=_metrics(usage), outcome=text, close_stages=True
            ),
        )
        shown = _STATES.get(conclusion.verdict, "UNKNOWN")
        event = {"run_id": self._run_id, "state": shown, "message": text, **_metrics(usage)}
        self._try("The webhook could not be called", lambda: call_webhook(event))
        text = " ".join([text, *self._problems])
        self._events.emit("finished", text, summary={"state": shown, **_metrics(usage)})
        return text

    def _conclusion(self, state: str, pods: list[dict[str, Any]]) -> Conclusion:
        """Return what the run's objects say about its end."""
        platform = Evidence(verdict_of_state(state))
        if not in_cluster():
            return conclude([platform], [], [])
        said: list[str] = []
        workflow = self._look("The workflow of the run is unknown", self._workflow, said)
        at_kfp = Evidence()
        if workflow.verdict is None:
            at_kfp = self._look("The run at Kubeflow Pipelines is unknown", self._at_kfp, said)
        of_pods = evidence_of_pods(pods, self._log)
        sources = [workflow, at_kfp, platform, of_pods]
        if not any(each.verdict for each in sources):
            sources.append(self._look("The stages of the run in MLflow are unknown", self._in_mlflow, said))
        return conclude(sources, [of_pods, workflow], said)

    def _workflow(self) -> Evidence:
        client, location = connect()
        workflow = workflow_of_run(client, location.namespace, self._run_id, _TIMING)
        return Evidence() if workflow is None else evidence_of_workflow(workflow)

    def _at_kfp(self) -> Evidence:
        return evidence_of_run(run_at_kfp(self._run_id))

    def _in_mlflow(self) -> Evidence:
        # The last step of a pipeline succeeds only after all others.
        ended = stage_statuses(self._tracking(), self._run_id, LAST_STEPS)
        return Evidence("succeeded" if "FINISHED" in ended.values() else None)

    def _pods(self) -> list[dict[str, Any]] | None:
        return self._api().labeled_pods(f"{RUN_LABEL}={self._run_id}") if in_cluster() else None

    def _log(self, pod: Mapping[str, Any]) -> str:
        found = self._try(
            "The log of a failed step could not be read",
            lambda: self._api().tail(str(pod["metadata"]["name"]), MAIN, _LOG_LINES),
        )
        # What the client returns in place of a log is not the step's error.
        return "" if found is None or found.startswith("(no log:") else found

    def _usage(self, pods: list[dict[str, Any]], pool: Mapping[str, Any]) -> Usage | None:
        launched = self._try(
            "The GPU-hours of training jobs are unknown",
            lambda: metric_total(self._tracking(), self._run_id, GPU_HOURS),
        )
        return self._try(
            "The GPU-hours could not be computed",
            lambda: usage_of(pods, validated(ClusterConfig, dict(pool), "cluster"), datetime.now(UTC), launched or 0.0),
        )

    def _reap(self) -> None:
        if not in_cluster():
            return
        for name in delete_jobs(self._api(), self._run_id):
            log.warning("removed TrainJob %s, which a step left behind", name)

    def _api(self) -> KubernetesApi:
        client, location = connect()
        return KubernetesApi(client, location.namespace, _TIMING)

    def _tracking(self) -> TrackingConfig:
        config: TrackingConfig = validated(TrackingConfig, dict(self._settings), "tracking")
        return config

    def _look(self, failure: str, source: Callable[[], Evidence], said: list[str]) -> Evidence:
        """Return the evidence of a source. That it cannot be read matters only if no other one knows the outcome."""
        return self._try(failure, source, said) or Evidence()

    def _try(self, failure: str, action: Callable[[], T], problems: list[str] | None = None) -> T | None:
        """Return the result of ``action``, or add a sentence to ``problems`` if it fails."""
        problems = self._problems if problems is None else problems
        try:
            return retried(action, step_policy(), lambda line: log.warning("%s: %s", failure, line))
        except VicurError as error:
            log.warning("%s: %s", failure, error)
            problems.append(f"{failure}: {error}")
        except Exception as error:
            log.exception("%s", failure)
            problems.append(f"{failure} ({type(error).__name__}; see the log of this step).")
        return None


def _metrics(usage: Usage | None) -> dict[str, float]:
    if usage is None:
        return {}
    cost = {} if usage.cost is None else {f"usage/cost_{usage.currency.lower()}": usage.cost}
    return {GPU_HOURS: usage.gpu_hours, **cost}
