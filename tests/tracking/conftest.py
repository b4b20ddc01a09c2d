"""A clean environment and an empty folder for each test; a server and a store for those that request them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tracking.server import ENVIRONMENT, Server, shared_server
from tests.tracking.store import empty_store_folder
from vicur.config.tracking import TrackingConfig


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty project folder, without any MLflow configured."""
    for name in ENVIRONMENT:
        # Set first, then removed: this way monkeypatch also undoes what the code under test sets.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def server() -> Server:
    """Return a real MLflow server."""
    return shared_server()


@pytest.fixture(scope="session")
def empty_store() -> Path:
    """Return the folder of an empty embedded store, to copy."""
    return empty_store_folder()


@pytest.fixture
def embedded(empty_store: Path) -> TrackingConfig:
    """Return the configuration of an embedded store in the project folder."""
    shutil.copytree(empty_store, "mlflow")
    return TrackingConfig()


@pytest.fixture(params=["embedded", "server"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> TrackingConfig:
    """Return an embedded store and a real server in turn: every promise holds for both."""
    if request.param == "embedded":
        return request.getfixturevalue("embedded")
    return TrackingConfig(uri=request.getfixturevalue("server").uri, experiment=tmp_path.name)
