"""One set of servers for all tests, and a proxy before MLflow for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.mlflow_e2e.faulty_proxy import FaultyProxy, faulty_proxy
from tests.mlflow_e2e.stack import USER, Stack, stack
from tests.registry.conftest import base_model, data, students
from tests.tracking.conftest import project
from vicur.config.registry import RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.tracking.mlflow import connect

__all__ = ["base_model", "data", "project", "students"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.mlflow)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture
def proxy(servers: Stack, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:  # noqa: ARG001 (its folder)
    """The way to MLflow, as the user of the pipeline. What a pod has: no access to the database or to S3."""
    servers.server.ensure_started()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", USER[1])
    # MLflow waits 1, 2, 4, ... seconds between its own attempts.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with faulty_proxy(servers.server.port) as running:
        yield running


@pytest.fixture
def tracking(proxy: FaultyProxy, tmp_path: Path) -> TrackingConfig:
    return TrackingConfig(uri=proxy.uri, experiment=tmp_path.name)


@pytest.fixture
def registry(tmp_path: Path) -> RegistryConfig:
    """A model that no other test uses."""
    return RegistryConfig(model=tmp_path.name)


@pytest.fixture
def client(tracking: TrackingConfig) -> MlflowClient:
    return connect(tracking)
