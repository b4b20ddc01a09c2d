"""Follow a TrainJob until it completes: report its status, enforce its time limits, and report why it failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vicur.cluster.jobs.api import KubernetesApi
from vicur.cluster.jobs.failures import job_error, log_failure, timeout_error
from vicur.cluster.jobs.status import JobStatus, Phase, job_status
from vicur.config.cluster import ClusterConfig
from vicur.errors import VicurError

log = logging.getLogger(__name__)

Json = dict[str, Any]

_REPEAT_SECONDS = 600.0
# Timers that a phase resets. Each wait and each start is timed separately: a job that loses a node after hours is not late to
# start, and must fail with that node's error. The time limit for running continues through such restarts.
_RESET_BY = {
    Phase.QUEUED: (Phase.STARTING, Phase.RUNNING),
    Phase.STARTING: (Phase.QUEUED,),
    Phase.RUNNING: (Phase.QUEUED, Phase.STARTING),
}


@dataclass(frozen=True)
class Limits:
    """Time limits of a job, in seconds.

    Attributes:
        queued: in the queue; ``None`` for no limit.
        starting: from admission until all nodes run.
        running: from then on.
    """

    queued: float | None
    starting: float
    running: float

    @classmethod
    def of(cls, pool: ClusterConfig) -> Limits:
        """Return the limits in the configuration."""
        queued = None if pool.jobs.queue_hours is None else pool.jobs.queue_hours * 3600
        return cls(queued, pool.jobs.start_minutes * 60, pool.training_timeout_hours * 3600)


@dataclass
class JobMonitor:
    """Follows a job until it completes."""

    api: KubernetesApi
    job: Json
    pool: ClusterConfig
    limits: Limits
    report: Callable[[str], object]
    servers: int = 0
    _since: dict[Phase, float] = field(default_factory=dict)
    _reported: tuple[str, float] = ("", 0.0)
    _last_pods: list[Json] = field(default_factory=list)

    @property
    def _name(self) -> str:
        return str(self.job["metadata"]["name"])

    @property
    def _where(self) -> str:
        return f"TrainJob {self.api.namespace}/{self._name}"

    def wait(self) -> None:
        """Wait until the job is complete.

        Raises:
            VicurError: if the job fails, exceeds a time limit or is deleted.
        """
        uid = self.job["metadata"]["uid"]
        for job in self.api.changes(self._name):
            if job is None or job["metadata"]["uid"] != uid or "deletionTimestamp" in job["metadata"]:
                self._log_failure()
                raise VicurError(
                    "the job was deleted while it was running.",
                    where=self._where,
                    remedy="If that was a mistake, retry the step: it resumes from the last checkpoint.",
                    exit_code=1,
                )
            self.job = job
            status = job_status(job, self._pods(), self.pool.nodes, self.pool.queue, self.servers)
            self._report(status)
            if status.phase is Phase.COMPLETE:
                return
            if status.phase is Phase.FAILED:
                self._log_failure()
                raise job_error(job, self._last_pods)
            self._check_time(status.phase)
        raise AssertionError("unreachable: changes() ends with None")

    def _pods(self) -> list[Json]:
        pods = self.api.pods(self._name)
        # When a job fails its pods may be gone already. Those seen last still say why.
        self._last_pods = pods or self._last_pods
        return pods

    def _report(self, status: JobStatus) -> None:
        """Report a status that is new, and an unchanged one with the training's progress every ten minutes."""
        text = status.description
        if status.phase is Phase.QUEUED and (reason := self._queue_message()):
            text += f" ({reason})"
        previous, when = self._reported
        if text != previous or time.monotonic() - when > _REPEAT_SECONDS:
            self._reported = text, time.monotonic()
            self.report(f"{text}: {status.progress}" if status.progress else text)

    def _queue_message(self) -> str:
        """Return Kueue's latest reason for not admitting the job."""
        if not self.pool.queue:
            return ""
        events = self.api.events("involvedObject.kind=Workload")
        own = [each for each in events if each["involvedObject"]["name"].startswith(f"trainjob-{self._name}-")]
        return str(own[-1]["message"]) if own else ""

    def _check_time(self, phase: Phase) -> None:
        now = time.monotonic()
        for other in _RESET_BY[phase]:
            self._since.pop(other, None)
        since = self._since.setdefault(phase, now)
        seconds, setting = {
            Phase.QUEUED: (self.limits.queued, "cluster.jobs.queue_hours"),
            Phase.STARTING: (self.limits.starting, "cluster.jobs.start_minutes"),
            Phase.RUNNING: (self.limits.running, "cluster.training_timeout_hours"),
        }[phase]
        if seconds is not None and now - since > seconds:
            self._log_failure()
            activity = {Phase.QUEUED: "waited in the queue", Phase.STARTING: "was starting", Phase.RUNNING: "ran"}[
                phase
            ]
            raise timeout_error(self._where, f"the job {activity} for longer than {seconds / 3600:.4g} h", setting)

    def _log_failure(self) -> None:
        try:
            self._pods()
            log_failure(self.api, self._name, self._last_pods)
        except VicurError as error:
            # The job's own error is raised after this and matters more.
            log.warning("The events and logs of the job cannot be read: %s", error)
