"""The launcher at a pace for tests, on the cluster of an API server's double."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.api_server_double import NAMESPACE, ApiServerDouble
from vicur.cluster.jobs.api import Api, Pace
from vicur.cluster.jobs.launcher import Limits, run_job
from vicur.cluster.jobs.manifest import JobRequest
from vicur.cluster.jobs.names import job_name, labels
from vicur.config.cluster import ClusterConfig

RUN, TASK, WORK = "run-1", "train vicur", "0123abcd"
JOB = job_name(RUN, TASK, WORK)
OWNER = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "distill-1", "uid": "uid-workflow"}
REQUEST = JobRequest(JOB, NAMESPACE, labels(RUN, TASK), WORK, "vicur-python:1", {"VICUR_RUN_ID": RUN}, OWNER)
PACE = Pace(tick=1.0, first_wait=0.02, longest_wait=0.1, patience=1.5, goodbye=1.5)


def api_of(server: ApiServerDouble, pace: Pace = PACE) -> Api:
    """The real client, speaking with the double."""
    from kubernetes.client import ApiClient, Configuration

    settings = Configuration(host=server.url)
    settings.retries = False
    return Api(ApiClient(settings), NAMESPACE, pace)


@dataclass
class Launch:
    """What a launch was told and told."""

    told: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    ended: list[list[dict[str, Any]]] = field(default_factory=list)

    def run(
        self,
        server: ApiServerDouble,
        collect: Callable[[], Any] = lambda: "student",
        pace: Pace = PACE,
        request: JobRequest = REQUEST,
        limits: Limits | None = None,
        **settings: Any,
    ) -> Any:
        """Runs the job on the double's cluster."""
        pool = ClusterConfig.model_validate({"nodes": 2, "gpu_count": 8, **settings})
        tell, print_line = self.told.append, self.printed.append
        return run_job(
            api_of(server, pace),
            request,
            pool,
            collect,
            tell=tell,
            print_line=print_line,
            ended=self.ended.append,
            limits=limits,
        )
