"""Run a TrainJob to completion and leave nothing behind on the cluster.

A job that an earlier attempt at the same work created is adopted. While the job is queued, starts and runs, its status is reported
and the log of node 0 is streamed. The job succeeds once its result has been collected. It is deleted afterwards, and also after a
failure, a timeout or SIGTERM.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from vicur.cluster.jobs.api import KubernetesApi
from vicur.cluster.jobs.manifest import JobRequest, train_job
from vicur.cluster.jobs.monitor import JobMonitor, Limits
from vicur.cluster.jobs.names import RUN, TASK, WORK
from vicur.cluster.jobs.pod_log import LogStream
from vicur.cluster.jobs.runtimes import Runtimes
from vicur.cluster.jobs.servers import runtime_with
from vicur.cluster.jobs.status import Phase, job_status
from vicur.config.cluster import ClusterConfig
from vicur.errors import VicurError
from vicur.processes.machines import NODE_TASK, SERVERS
from vicur.processes.signals import EXIT_CODE, StopOnSigterm

log = logging.getLogger(__name__)

T = TypeVar("T")
Json = dict[str, Any]

_DELETION_POLL_SECONDS = 0.2


def run_job(
    api: KubernetesApi,
    request: JobRequest,
    pool: ClusterConfig,
    collect: Callable[[], T],
    *,
    is_done: Callable[[], bool] = lambda: False,
    report: Callable[[str], object],
    print_line: Callable[[str], object],
    on_end: Callable[[list[Json]], object] = lambda _: None,
    limits: Limits | None = None,
) -> T:
    """Run a job and return what ``collect`` returns.

    Args:
        collect: downloads and checks the job's result, while the job still exists.
        is_done: whether the result exists already, because an earlier attempt was killed after its job had completed.
        on_end: receives the job's pods as they were before they were deleted.

    Raises:
        VicurError: if the job does not succeed; with exit status 75 if a retry can be expected to succeed.
    """
    with StopOnSigterm() as stopping:
        try:
            if not is_done():
                limits = limits or Limits.of(pool)
                job = _create_or_adopt(api, request, pool, report, limits.starting)
                with LogStream(api, request.name, print_line) as stream:
                    JobMonitor(api, job, pool, limits, report, request.server_count).wait()
                    stream.drain()
            return collect()
        finally:
            stopping.ignore_signals()
            pods = _own_pods(api, request)
            _delete(api, request)
            # Last, when the job no longer holds any GPU: the callback may have to wait for a server.
            if pods is not None:
                _call_on_end(pods, request, on_end)


def is_own(job: Mapping[str, Any], request: JobRequest) -> bool:
    """Return whether a job is the requested one, created by this attempt or an earlier one."""
    labels = job["metadata"].get("labels") or {}
    same_task = all(labels.get(label) == request.labels[label] for label in (RUN, TASK))
    return same_task and (job["metadata"].get("annotations") or {}).get(WORK) == request.work


def _own_pods(api: KubernetesApi, request: JobRequest) -> list[Json] | None:
    """Return the job's pods, or ``None`` if the job does not exist or the server does not respond."""
    limit = api.timing.deletion
    try:
        job = api.job(request.name, limit)
        return api.pods(request.name, limit) if job is not None and is_own(job, request) else None
    except VicurError as error:
        log.warning("The pods of TrainJob %s cannot be listed: %s", request.name, error)
        return None


def _call_on_end(pods: list[Json], request: JobRequest, on_end: Callable[[list[Json]], object]) -> None:
    try:
        on_end(pods)
    except Exception as error:  # noqa: BLE001 (MLflow raises errors of many types; none may change how the step ends)
        log.warning("The usage of TrainJob %s was not recorded: %s", request.name, error)


def _create_or_adopt(
    api: KubernetesApi, request: JobRequest, pool: ClusterConfig, report: Callable[[str], object], patience: float
) -> Json:
    """Return a new job, or the job of an earlier attempt if that has not failed."""
    name = request.name
    while True:
        job = api.job(name)
        if job is None:
            fields = api.job_fields()
            if request.servers:
                _create_runtime(api, request, pool, patience)
            job = api.create(train_job(request, pool, fields))
            if job is not None:
                if request.servers:
                    _own_runtime(api, job)
                report(f"created the TrainJob {name}")
                return job
            # The name has just been taken, possibly by our own request if its response was lost.
            job = api.job(name)
        if job is None:
            # The server also responds with a conflict if a quota changed during the request.
            time.sleep(_DELETION_POLL_SECONDS)
            continue
        if not is_own(job, request):
            raise VicurError(
                "a job with this name exists that belongs to other work. It was not changed.",
                where=f"TrainJob {api.namespace}/{name}",
                remedy="Delete or rename that job, then retry the step.",
            )
        if "deletionTimestamp" not in job["metadata"] and job_status(job, [], 0, "").phase is not Phase.FAILED:
            report(f"resuming the TrainJob {name} of an earlier attempt")
            return _adopted(api, job, request)
        # An earlier attempt gave the job up and was killed before the job was gone.
        report(f"waiting for the deletion of the TrainJob {name} of an earlier attempt")
        _delete_earlier(api, request, patience)


def _create_runtime(api: KubernetesApi, request: JobRequest, pool: ClusterConfig, patience: float) -> None:
    """Create the training runtime of a job with servers."""
    runtimes = Runtimes(api)
    common = runtimes.get(pool.jobs.runtime)
    if common is None:
        raise VicurError(
            f"the namespace {api.namespace} has no training runtime {pool.jobs.runtime!r}, which the servers of a job take their settings "
            "from.",
            where="cluster.jobs.runtime",
            remedy="Install it (k8s/base/training), or set it to another one in this namespace.",
        )
    manifest = runtime_with(request.servers, common, request.name, request.labels, pool, _server_environment(request))
    # Until the job exists, which owns it then.
    if request.owner is not None:
        manifest["metadata"]["ownerReferences"] = [dict(request.owner)]
    runtimes.put(manifest, patience)


def _own_runtime(api: KubernetesApi, job: Json) -> None:
    # Deleting the job in any way deletes its runtime, too.
    owner = {name: job[name] for name in ("apiVersion", "kind")} | {
        name: job["metadata"][name] for name in ("name", "uid")
    }
    Runtimes(api).patch(owner["name"], {"metadata": {"ownerReferences": [owner]}})


def _server_environment(request: JobRequest) -> dict[str, str]:
    # The addresses of the object store, but neither the nodes' task nor the addresses of the servers.
    return {name: value for name, value in request.environment.items() if name not in (NODE_TASK, SERVERS)}


def _adopted(api: KubernetesApi, job: Json, request: JobRequest) -> Json:
    if request.servers:
        # The earlier attempt may have been killed before it did this. Its runtime would go with its pod.
        _own_runtime(api, job)
    # Kubernetes would delete the job together with the earlier attempt's pod otherwise.
    owners = [dict(request.owner)] if request.owner else None
    if owners and job["metadata"].get("ownerReferences") != owners:
        return api.patch(request.name, {"metadata": {"ownerReferences": owners}}) or job
    return job


def _delete_earlier(api: KubernetesApi, request: JobRequest, seconds: float) -> None:
    # This may take minutes: the pods write a checkpoint before they exit.
    if not _is_deleted(api, request, seconds, api.timing.give_up):
        raise VicurError(
            f"the job of an earlier attempt is still being deleted after {seconds / 3600:.4g} h.",
            where=f"TrainJob {api.namespace}/{request.name}",
            remedy="Find the pod that does not terminate (kubectl get pods). If its node is lost, delete the node from the cluster.",
            exit_code=EXIT_CODE,
            retryable=True,
        )


def _delete(api: KubernetesApi, request: JobRequest) -> None:
    # Called while the step ends: an error here must not replace the step's own result or error.
    try:
        if not _is_deleted(api, request, api.timing.deletion, api.timing.deletion):
            log.info("TrainJob %s is being deleted. Its pods are still writing their checkpoint.", request.name)
    except VicurError as error:
        log.warning("TrainJob %s may still exist (delete it with vicur cluster reap): %s", request.name, error)


def _is_deleted(api: KubernetesApi, request: JobRequest, seconds: float, give_up: float) -> bool:
    """Delete the job and return whether it is gone within ``seconds``. ``give_up`` limits the retries of each request."""
    started = time.monotonic()
    while (job := api.job(request.name, give_up)) is not None and is_own(job, request):
        if "deletionTimestamp" not in job["metadata"]:
            api.delete(request.name, job["metadata"]["uid"], give_up)
        waited = time.monotonic() - started
        if waited > seconds:
            return False
        # Poll less often the longer it takes.
        time.sleep(min(_DELETION_POLL_SECONDS + waited / 10, api.timing.poll))
    return True
