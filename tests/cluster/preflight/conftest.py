"""Servers for the checks: S3, Kubernetes and MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.cluster.preflight.doubles import KubernetesDouble, kubeconfig, serving
from tests.tracking.server import Server, free_port, shared_server


@pytest.fixture
def s3(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """Return an S3 client with an empty bucket ``runs``."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_address)
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
    """Return a cluster double, configured in the kubeconfig."""
    double = KubernetesDouble()
    with serving(double) as address:
        file = tmp_path / "kubeconfig"
        file.write_text(kubeconfig(address, double.token))
        monkeypatch.setenv("KUBECONFIG", str(file))
        yield double


ADMIN = ("admin", "correct horse battery")


@pytest.fixture(scope="session")
def protected_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a real MLflow server with basic auth, whose administrator is ``ADMIN``."""
    server = Server(tmp_path_factory.mktemp("mlflow"), free_port(), admin=ADMIN)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def server() -> Server:
    """Return a real MLflow server."""
    return shared_server()
