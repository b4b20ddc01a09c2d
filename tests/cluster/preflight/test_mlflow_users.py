"""Checks of MLflow against a real server with basic auth: its release, and the right to write to a run that another user started."""

from __future__ import annotations

import pytest
import requests

from tests.cluster.preflight.conftest import ADMIN
from tests.tracking.server import ENVIRONMENT, Server
from vicur.cluster.preflight import step_checks
from vicur.cluster.preflight.checks.tracking import tracking, writable_run
from vicur.config.preflight import PreflightConfig
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError

STEPS = ("steps", "another long password")
"""User of the steps, who may read what others write, and no more."""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def become(monkeypatch: pytest.MonkeyPatch, user: tuple[str, str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", user[1])


@pytest.fixture
def run_of_another(protected_server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a run that the administrator started, in the environment as MLflow's plugin of Kubeflow Pipelines injects it."""
    from mlflow import MlflowClient

    become(monkeypatch, ADMIN)
    created = {"username": STEPS[0], "password": STEPS[1]}
    answer = requests.post(f"{protected_server.uri}/api/2.0/mlflow/users/create", json=created, auth=ADMIN, timeout=30)
    assert answer.ok or answer.json()["error_code"] == "RESOURCE_ALREADY_EXISTS", answer.text
    run: str = MlflowClient(protected_server.uri).create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", protected_server.uri)
    monkeypatch.setenv("MLFLOW_RUN_ID", run)
    return run


def test_release_of_a_server_with_users_is_known(protected_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    assert requests.get(f"{protected_server.uri}/version", timeout=30).status_code == 401
    become(monkeypatch, ADMIN)
    finding = tracking(TrackingConfig(uri=protected_server.uri))
    assert (finding.status, finding.message) == ("ok", f"MLflow {mlflow.__version__} at {protected_server.uri}")


def test_credentials_of_an_address_are_used_and_not_shown(
    protected_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, password = ADMIN[0], ADMIN[1].replace(" ", "%20")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{user}:{password}@127.0.0.1:{protected_server.port}")
    finding = tracking(TrackingConfig())
    assert finding.status == "ok"
    assert password not in finding.message


def test_run_that_steps_join_must_be_writable(
    protected_server: Server, run_of_another: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    assert writable_run(TrackingConfig()).status == "ok"
    assert "vicur.preflight" in MlflowClient(protected_server.uri).get_run(run_of_another).data.tags
    become(monkeypatch, STEPS)
    with pytest.raises(VicurError, match="denied") as caught:
        writable_run(TrackingConfig())
    assert "user of KFP's MLflow plugin" in caught.value.remedy
    assert not caught.value.retryable


def test_right_to_write_is_checked_only_in_a_step_whose_run_exists(
    run_of_another: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> set[str]:
        return {check.name for check in step_checks(PreflightConfig(), TrackingConfig())}

    assert run_of_another
    assert "MLflow run" in names()
    monkeypatch.delenv("MLFLOW_RUN_ID")
    assert "MLflow run" not in names()
