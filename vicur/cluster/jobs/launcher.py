"""Runs a TrainJob to its end, and leaves nothing behind.

The job of an earlier attempt at the same work is adopted. While the job waits in its queue, starts and runs, its standing is told and node
0's log streamed. It counts as done once what it made has been collected, and is removed after that, as it is after a failure, at the end of
its time and when this process is asked to stop (SIGTERM).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from vicur.cluster.jobs.api import Api
from vicur.cluster.jobs.manifest import JobRequest, train_job
from vicur.cluster.jobs.names import RUN, TASK, WORK
from vicur.cluster.jobs.pod_log import LogStream
from vicur.cluster.jobs.report import failure, out_of_time, tell_of
from vicur.cluster.jobs.state import JobStatus, Phase, standing
from vicur.config.cluster import ClusterConfig
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE, StopOnSigterm

log = logging.getLogger(__name__)

T = TypeVar("T")
Json = dict[str, Any]

_SAY_AGAIN_SECONDS = 600.0
_DRAIN_SECONDS = 5.0
_GONE_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Limits:
    """How long a job may take, in seconds.

    Attributes:
        queued: in its queue; none for as long as it takes.
        starting: from admission until all nodes run.
        running: from then on.
    """

    queued: float | None
    starting: float
    running: float

    @classmethod
    def of(cls, pool: ClusterConfig) -> Limits:
        """As the configuration has them."""
        queued = None if pool.jobs.queue_hours is None else pool.jobs.queue_hours * 3600
        return cls(queued, pool.jobs.start_minutes * 60, pool.training_timeout_hours * 3600)


def run_job(
    api: Api,
    request: JobRequest,
    pool: ClusterConfig,
    collect: Callable[[], T],
    *,
    is_done: Callable[[], bool] = lambda: False,
    tell: Callable[[str], object],
    print_line: Callable[[str], object],
    ended: Callable[[list[Json]], object] = lambda _: None,
    limits: Limits | None = None,
) -> T:
    """Runs a job and collects what it made.

    Args:
        api: the cluster.
        request: what the job is for.
        pool: its nodes.
        collect: fetches and checks what the job has made, while the job is still there.
        is_done: whether that is there already: an earlier attempt was killed between its job's end and its own.
        tell: is told how far the job is.
        print_line: is given each line of node 0's log.
        ended: is given the job's pods, as they were before they were removed with it. Comes last: what it asks of others keeps no GPU.
        limits: how long it may take; by default as ``pool`` has it.

    Returns:
        What ``collect`` does.

    Raises:
        VicurError: where the job does not end well, with an exit status of 75 where a retry goes on.
    """
    with StopOnSigterm() as stopping:
        try:
            if not is_done():
                limits = limits or Limits.of(pool)
                job = _have_job(api, request, pool, tell, limits.starting)
                with LogStream(api, request.name, print_line) as stream:
                    _Follower(api, job, pool, limits, tell).follow()
                    stream.drain(_DRAIN_SECONDS)
            return collect()
        finally:
            stopping.ignore_signals()
            pods = _own_pods(api, request)
            _remove(api, request)
            if pods is not None:
                _tell_of_pods(pods, request, ended)


def _own_pods(api: Api, request: JobRequest) -> list[Json] | None:
    """The job's pods; none where there is no job, or the server does not say."""
    try:
        job = api.job(request.name, api.pace.goodbye)
        return api.pods(request.name, api.pace.goodbye) if job is not None and is_own(job, request) else None
    except VicurError as error:
        log.warning("the pods of TrainJob %s are not known: %s", request.name, error)
        return None


def _tell_of_pods(pods: list[Json], request: JobRequest, ended: Callable[[list[Json]], object]) -> None:
    """What goes wrong is told, and changes nothing of how the step ends."""
    try:
        ended(pods)
    except Exception as error:  # noqa: BLE001 (the server that it is told to may refuse it in words of its own)
        log.warning("what the pods of TrainJob %s have used is not recorded: %s", request.name, error)


def is_own(job: Mapping[str, Any], request: JobRequest) -> bool:
    """Whether a job is the one that was asked for, whichever attempt made it."""
    found = job["metadata"].get("labels") or {}
    ours = all(found.get(label) == request.labels[label] for label in (RUN, TASK))
    return ours and (job["metadata"].get("annotations") or {}).get(WORK) == request.work


def _have_job(
    api: Api, request: JobRequest, pool: ClusterConfig, tell: Callable[[str], object], patience: float
) -> Json:
    """The job: that of an earlier attempt where there is one that still may do, else a new one.

    Raises:
        VicurError: where the name is another's, or an earlier attempt's job is not gone within ``patience`` seconds.
    """
    name = request.name
    while True:
        job = api.job(name)
        if job is None:
            job = api.create(train_job(request, pool, api.job_fields()))
            if job is not None:
                tell(f"made the TrainJob {name}")
                return job
            # Taken just now, or by a request of ours whose answer was lost.
            job = api.job(name)
        if job is None:
            # A quota that was changed meanwhile is a conflict too.
            time.sleep(_GONE_LOOK_SECONDS)
            continue
        if not is_own(job, request):
            raise VicurError(
                "is another's job, which is left alone.",
                where=f"TrainJob {api.namespace}/{name}",
                remedy="Remove or rename it, and give the command again.",
            )
        if "deletionTimestamp" not in job["metadata"] and standing(job, [], 0, "").phase is not Phase.FAILED:
            tell(f"goes on with the TrainJob {name} of an earlier attempt")
            return _adopted(api, job, request)
        # An earlier attempt has given it up, and was killed before it was gone.
        tell(f"waits until the TrainJob {name} of an earlier attempt is gone")
        _make_way(api, request, patience)


def _adopted(api: Api, job: Json, request: JobRequest) -> Json:
    """The job, which is removed with this attempt's owner now."""
    owners = [dict(request.owner)] if request.owner else None
    if owners and job["metadata"].get("ownerReferences") != owners:
        return api.patch(request.name, {"metadata": {"ownerReferences": owners}}) or job
    return job


def _make_way(api: Api, request: JobRequest, seconds: float) -> None:
    """Has an earlier attempt's job removed, and waits for it: its pods write a checkpoint before they end.

    Raises:
        VicurError: where it is not gone in time, as when its pods were on a node that is lost.
    """
    if not _is_removed(api, request, seconds, api.pace.patience):
        raise VicurError(
            f"of an earlier attempt is still being removed after {seconds / 3600:.4g} h.",
            where=f"TrainJob {api.namespace}/{request.name}",
            remedy="See which of its pods do not end (kubectl get pods): one on a node that is lost goes with the node's entry.",
            exit_code=EXIT_CODE,
            retryable=True,
        )


def _remove(api: Api, request: JobRequest) -> None:
    """Has the job removed, and waits for it a little. What goes wrong is told, and changes nothing of how the step ends."""
    try:
        if not _is_removed(api, request, api.pace.goodbye, api.pace.goodbye):
            log.info("TrainJob %s is being removed: its pods still write their checkpoint", request.name)
    except VicurError as error:
        log.warning("TrainJob %s may still be there (vicur cluster reap removes it): %s", request.name, error)


def _is_removed(api: Api, request: JobRequest, seconds: float, patience: float) -> bool:
    """Has the job removed. Says whether it is gone, for which it waits so many seconds; ``patience`` is for a server in trouble."""
    begun = time.monotonic()
    while (job := api.job(request.name, patience)) is not None and is_own(job, request):
        if "deletionTimestamp" not in job["metadata"]:
            api.delete(request.name, job["metadata"]["uid"], patience)
        waited = time.monotonic() - begun
        if waited > seconds:
            return False
        # What takes long is looked at less often.
        time.sleep(min(_GONE_LOOK_SECONDS + waited / 10, api.pace.tick))
    return True


@dataclass
class _Follower:
    """Follows a job to its end, and keeps its limits of time."""

    api: Api
    job: Json
    pool: ClusterConfig
    limits: Limits
    tell: Callable[[str], object]
    _since: dict[Phase, float] = field(default_factory=dict)
    _told: tuple[str, float] = ("", 0.0)
    _seen: list[Json] = field(default_factory=list)

    @property
    def _name(self) -> str:
        return str(self.job["metadata"]["name"])

    @property
    def _where(self) -> str:
        return f"TrainJob {self.api.namespace}/{self._name}"

    def follow(self) -> None:
        """Returns once the job is complete.

        Raises:
            VicurError: where it does not get there.
        """
        uid = self.job["metadata"]["uid"]
        for job in self.api.changes(self._name):
            if job is None or job["metadata"]["uid"] != uid or "deletionTimestamp" in job["metadata"]:
                self._report()
                raise VicurError(
                    "was removed by somebody while it ran.",
                    where=self._where,
                    remedy="Where that was a mistake, give the command again: it goes on from the last checkpoint.",
                    exit_code=1,
                )
            self.job = job
            pods = self._pods()
            now = standing(job, pods, self.pool.nodes, self.pool.queue)
            self._say(now)
            if now.phase is Phase.COMPLETE:
                return
            if now.phase is Phase.FAILED:
                self._report()
                raise failure(job, self._seen)
            self._keep_time(now.phase)
        raise AssertionError("a job that is gone ends the loop")

    def _pods(self) -> list[Json]:
        """Its pods. Those that were last seen are kept for the report: they may have vanished by then."""
        pods = self.api.pods(self._name)
        self._seen = pods or self._seen
        return pods

    def _say(self, now: JobStatus) -> None:
        """Tells what is new, and from time to time what is not: a long wait is to be seen."""
        words = now.words
        if now.phase is Phase.QUEUED and (why := self._queue_says()):
            words += f" ({why})"
        said, when = self._told
        if words != said or time.monotonic() - when > _SAY_AGAIN_SECONDS:
            self._told = words, time.monotonic()
            self.tell(words)

    def _queue_says(self) -> str:
        """Why Kueue has not admitted the job, as it said last."""
        if not self.pool.queue:
            return ""
        events = self.api.events("involvedObject.kind=Workload")
        own = [each for each in events if each["involvedObject"]["name"].startswith(f"trainjob-{self._name}-")]
        return str(own[-1]["message"]) if own else ""

    def _keep_time(self, phase: Phase) -> None:
        """Ends a job that has been in a phase for too long."""
        now = time.monotonic()
        for over in _OVER[phase]:
            self._since.pop(over, None)
        since = self._since.setdefault(phase, now)
        seconds, setting = {
            Phase.QUEUED: (self.limits.queued, "cluster.jobs.queue_hours"),
            Phase.STARTING: (self.limits.starting, "cluster.jobs.start_minutes"),
            Phase.RUNNING: (self.limits.running, "cluster.training_timeout_hours"),
        }[phase]
        if seconds is not None and now - since > seconds:
            self._report()
            what = {Phase.QUEUED: "waited in its queue", Phase.STARTING: "was starting", Phase.RUNNING: "ran"}[phase]
            raise out_of_time(self._where, f"{what} for longer than {seconds / 3600:.4g} h", setting)

    def _report(self) -> None:
        """Tells what there is to tell; a server in trouble does not hide how the job ended."""
        try:
            self._pods()
            tell_of(self.api, self._name, self._seen)
        except VicurError as error:
            log.warning("what the pods said cannot be read: %s", error)


_OVER = {
    Phase.QUEUED: (Phase.STARTING, Phase.RUNNING),
    Phase.STARTING: (Phase.QUEUED,),
    Phase.RUNNING: (Phase.QUEUED, Phase.STARTING),
}
"""Whose times end with a phase. Each wait and each start counts by itself: a job that loses a node after hours is not late to start, and is
to fail with the node's reason. The time that it may run goes on meanwhile."""
