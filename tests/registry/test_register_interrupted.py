"""Interrupted, concurrent and failed registrations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.registry.conftest import Make
from tests.registry.factory import GOOD, config_for, run_register
from tests.registry.processes import job, run_jobs
from tests.tracking.server import Server, free_port
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.registry.versions import get_version
from vicur.tracking.mlflow import connect

KILLED_IN = ("log_model_artifacts", "create_model_version", "set_registered_model_alias")


@pytest.fixture(scope="module")
def processes(students: Make, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project of each killed registration, and ``concurrent``, in which two ran at the same time."""
    root, inputs = tmp_path_factory.mktemp("processes"), students(GOOD)
    for name in (*KILLED_IN, "concurrent"):
        shutil.copytree(empty_store, root / name / "mlflow")
    outcomes = run_jobs(
        *(job(root / method, inputs, killed_in=method) for method in KILLED_IN),
        *(job(root / "concurrent", inputs, run_id) for run_id in ("run-1", "run-2")),
    )
    assert outcomes == [(9, "")] * 3 + [(0, "1")] * 2
    return root


@pytest.mark.parametrize("method", KILLED_IN)
def test_a_killed_registration_leaves_no_partial_version_and_the_next_completes_it(
    method: str, processes: Path, students: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(processes / method)
    client = connect(TrackingConfig())
    versions = client.search_model_versions("name = 'students'")
    assert len(versions) == (1 if method == "set_registered_model_alias" else 0)
    summary = run_register(students(GOOD))
    assert summary.version == "1"
    assert summary.aliases == ["candidate", "champion"]
    experiment = client.get_experiment_by_name("vicur").experiment_id
    models = client.search_logged_models([experiment])
    ready = [model for model in models if str(model.status.value) == "READY"]
    assert len(ready) == 1, "a complete upload is reused"
    assert get_version(client, "students", "1").model_id == ready[0].model_id


def test_concurrent_registrations_of_one_student_create_one_version(
    processes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(processes / "concurrent")
    versions = connect(TrackingConfig()).search_model_versions("name = 'students'")
    assert [str(version.version) for version in versions] == ["1"]


def test_a_failed_upload_removes_its_record(
    students: Make, embedded: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", full)
    with pytest.raises(VicurError, match="No space left"):
        run_register(students(GOOD))
    client = connect(embedded)
    assert client.search_logged_models([client.get_experiment_by_name("vicur").experiment_id]) == []
    assert client.search_model_versions("name = 'students'") == []
    assert not Path("registered/run-1").exists()


def test_without_a_server_the_error_states_the_remedy_and_nothing_is_written(students: Make) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(VicurError, match=r"MLflow does not respond.*Start the server"):
        run_register(students(GOOD), tracking=TrackingConfig(uri=uri))
    assert not Path("registered/run-1").exists()


def test_a_server_that_stops_during_registration_is_reported(
    students: Make, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    upload = MlflowClient.log_model_artifacts

    def upload_and_stop(self: MlflowClient, *args: str) -> None:
        upload(self, *args)
        server.stop()

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", upload_and_stop)
    tracking = TrackingConfig(uri=server.uri, experiment=tmp_path.name)
    try:
        with pytest.raises(VicurError, match="MLflow does not respond") as caught:
            run_register(students(GOOD), config=config_for(tmp_path), tracking=tracking)
    finally:
        monkeypatch.undo()
        server.start()
    assert caught.value.retryable
    client = MlflowClient(tracking_uri=server.uri)
    assert client.search_model_versions(f"name = '{tmp_path.name}'") == []
