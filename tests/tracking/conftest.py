"""A clean environment and a folder of its own for each test; a server for those that ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracking.server import ENVIRONMENT, Server, shared_server
from vicur.config.tracking import TrackingConfig
from vicur.tracking.mlflow import connect


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder that the test stands in, with no MLflow set up."""
    for name in ENVIRONMENT:
        # Set and removed: what the code under test puts there is then undone too.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def server() -> Server:
    """A real MLflow server."""
    return shared_server()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedded store with nothing in it, to copy: creating its tables takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    connect(TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db"))
    return folder
