"""S3, clusters and the environment of a check or a launch."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.cluster.doubles import KubernetesDouble, kubeconfig, serving
from tests.cluster.launching import Launch
from tests.tracking.server import ENVIRONMENT, Server, shared_server
from tests.training.conftest import base, inputs, session

__all__ = ["base", "inputs", "session"]

_VARIABLES = (
    *ENVIRONMENT,
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_PROFILE",
    "KUBERNETES_SERVICE_HOST",
    "HF_TOKEN",
    "VICUR_CUE_API_KEY",
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the test stands in, with no server set up."""
    for name in _VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """A client of S3 with an empty bucket ``runs``."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-key")
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="runs")
    yield client
    for entry in client.list_objects_v2(Bucket="runs").get("Contents", []):
        client.delete_object(Bucket="runs", Key=entry["Key"])
    client.delete_bucket(Bucket="runs")


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesDouble]:
    """A cluster that the kubeconfig names."""
    double = KubernetesDouble()
    with serving(double) as address:
        file = tmp_path / "kubeconfig"
        file.write_text(kubeconfig(address, double.token))
        monkeypatch.setenv("KUBECONFIG", str(file))
        yield double


@pytest.fixture(scope="session")
def server() -> Server:
    """A real MLflow server."""
    return shared_server()


@pytest.fixture
def launch() -> Launch:
    return Launch()


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket of its own, as boto3's resource."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    bucket = boto3.session.Session().resource("s3").Bucket(f"run-{uuid.uuid4().hex[:8]}")
    bucket.create()
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
