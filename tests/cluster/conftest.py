"""A clean environment, an S3 bucket and a launcher for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.launching import Launch
from tests.cluster.webhook_double import webhook
from tests.moto_s3 import empty_bucket, use_s3
from tests.tracking.server import ENVIRONMENT
from tests.training.conftest import base, inputs, session

__all__ = ["base", "inputs", "session", "webhook"]

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
    """Run the test in an empty folder, without any server configured."""
    for name in _VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def launch() -> Launch:
    return Launch()


@pytest.fixture
def bucket(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a new bucket."""
    use_s3(s3_address, monkeypatch)
    with empty_bucket(f"run-{uuid.uuid4().hex[:8]}") as made:
        yield made
