"""Recurring runs of the double of the Kubeflow Pipelines API server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kfp_server_api import V2beta1ListRecurringRunsResponse, V2beta1RecurringRun

from tests.pipelines.kfp_api import Refused
from tests.pipelines.kfp_workflow import BEGAN

_MOST_AT_ONCE = 10


@dataclass
class RecurringRuns:
    """Recurring runs. Each is a ScheduledWorkflow in Kubernetes, which owns the workflows of its runs."""

    recurring: dict[str, V2beta1RecurringRun] = field(default_factory=dict)
    # How each deleted recurring run was deleted: ORPHAN keeps its running workflow, anything else deletes it.
    deleted: dict[str, str | None] = field(default_factory=dict)

    def recurring_run_service_create_recurring_run(self, body: V2beta1RecurringRun) -> V2beta1RecurringRun:
        fields = len(body.trigger.cron_schedule.cron.split())
        # Five fields are accepted, too: with a second in front and without a weekday, not as crontab means them.
        if fields not in (5, 6):
            library = "https://godoc.org/github.com/robfig/cron"
            problem = (
                f"Schedule cron is not a supported format({library}). Error: Expected 5 to 6 fields, found {fields}"
            )
            raise Refused(400, f"Invalid input error: {problem}")
        if not 1 <= int(body.max_concurrency or 0) <= _MOST_AT_ONCE:
            problem = "Max concurrency of a recurring run must be at least 1 and at most 10"
            raise Refused(400, f"Invalid input error: {problem}. Received {body.max_concurrency}")
        version = body.pipeline_version_reference.pipeline_version_id
        if version not in self.versions:  # type: ignore[attr-defined]
            raise Refused(404, f"ResourceNotFoundError: {version} not found", 5)
        if body.plugins_input and body.runtime_config is not None:
            # A fault of 2.17.0.
            body.runtime_config.parameters = None
        body.recurring_run_id = f"schedule-{len(self.recurring) + len(self.deleted) + 1}"
        body.status = "ENABLED" if body.mode == "ENABLE" else "DISABLED"
        body.created_at = body.updated_at = BEGAN
        self.recurring[body.recurring_run_id] = body
        return body

    def recurring_run_service_list_recurring_runs(self, **_: str) -> V2beta1ListRecurringRunsResponse:
        # Like the server, answer an empty list by leaving it out.
        return V2beta1ListRecurringRunsResponse(recurring_runs=list(self.recurring.values()) or None)

    def recurring_run_service_get_recurring_run(self, recurring_run_id: str) -> V2beta1RecurringRun:
        return self._schedule(recurring_run_id)

    def recurring_run_service_disable_recurring_run(self, recurring_run_id: str) -> dict[str, Any]:
        self._schedule(recurring_run_id).status = "DISABLED"
        return {}

    def recurring_run_service_enable_recurring_run(self, recurring_run_id: str) -> dict[str, Any]:
        self._schedule(recurring_run_id).status = "ENABLED"
        return {}

    def recurring_run_service_delete_recurring_run(
        self, recurring_run_id: str, propagation_policy: str | None = None
    ) -> dict[str, Any]:
        self._schedule(recurring_run_id)
        del self.recurring[recurring_run_id]
        self.deleted[recurring_run_id] = propagation_policy
        return {}

    def _schedule(self, identifier: str) -> V2beta1RecurringRun:
        if identifier not in self.recurring:
            raise Refused(404, f"ResourceNotFoundError: Job {identifier} not found", 5)
        return self.recurring[identifier]
