"""The launcher at a pace for tests, beside the double of an API server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.cluster.api_server_double import NAMESPACE, ApiServerDouble
from tests.training.conftest import base, inputs, session
from vicur.cluster.api import Api, Pace
from vicur.cluster.launcher import run_job
from vicur.cluster.manifest import JobRequest
from vicur.cluster.names import job_name, labels
from vicur.config.cluster import TrainJobConfig

__all__ = ["base", "inputs", "session"]

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

    def run(
        self,
        server: ApiServerDouble,
        collect: Callable[[], Any] = lambda: "student",
        pace: Pace = PACE,
        request: JobRequest = REQUEST,
        **settings: Any,
    ) -> Any:
        """Runs the job on the double's cluster."""
        config = TrainJobConfig.model_validate({"nodes": 2, "gpus": 8, **settings})
        tell, print_line = self.told.append, self.printed.append
        return run_job(api_of(server, pace), request, config, collect, tell=tell, print_line=print_line)


@pytest.fixture
def launch() -> Launch:
    return Launch()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket of its own, as boto3's resource."""
    environment = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").Bucket(f"run-{uuid.uuid4().hex[:8]}")
    bucket.create()
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
