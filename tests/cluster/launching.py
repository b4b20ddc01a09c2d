"""Run the launcher with short intervals against an API server double."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.api_server_double import NAMESPACE, ApiServerDouble
from vicur.cluster.jobs.api import KubernetesApi
from vicur.cluster.jobs.launcher import run_job
from vicur.cluster.jobs.manifest import JobRequest
from vicur.cluster.jobs.monitor import Limits
from vicur.cluster.jobs.names import job_name, labels
from vicur.cluster.jobs.retries import Timing
from vicur.config.cluster import ClusterConfig

RUN, TASK, WORK = "run-1", "train vicur", "0123abcd"
JOB = job_name(RUN, TASK, WORK)
OWNER = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "distill-1", "uid": "uid-workflow"}
REQUEST = JobRequest(JOB, NAMESPACE, labels(RUN, TASK), WORK, "vicur-python:1", {"VICUR_RUN_ID": RUN}, OWNER)
TIMING = Timing(poll=1.0, first_retry=0.02, longest_retry=0.1, give_up=1.5, deletion=1.5, log_poll=0.1, log_drain=3.0)
QUEUE = {"queue": "gpus"}


def api_of(server: ApiServerDouble, timing: Timing = TIMING) -> KubernetesApi:
    """Return an API object with the real Kubernetes client, connected to the double."""
    from kubernetes.client import ApiClient, Configuration

    settings = Configuration(host=server.url)
    settings.retries = False
    return KubernetesApi(ApiClient(settings), NAMESPACE, timing)


@dataclass
class Launch:
    """Runs a job and collects what the launcher reports."""

    reported: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    ended: list[list[dict[str, Any]]] = field(default_factory=list)

    def run(
        self,
        server: ApiServerDouble,
        collect: Callable[[], Any] = lambda: "student",
        timing: Timing = TIMING,
        request: JobRequest = REQUEST,
        limits: Limits | None = None,
        **settings: Any,
    ) -> Any:
        """Run the job on the double's cluster."""
        pool = ClusterConfig.model_validate({"nodes": 2, "gpu_count": 8, **settings})
        return run_job(
            api_of(server, timing),
            request,
            pool,
            collect,
            report=self.reported.append,
            print_line=self.printed.append,
            on_end=self.ended.append,
            limits=limits,
        )
