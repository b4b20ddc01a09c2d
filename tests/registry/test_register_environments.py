"""Registrations on servers with credentials, on Kubeflow, and what a packaged model contains of its environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.registry.conftest import Make, Registration
from tests.registry.factory import GOOD, config_for, run_register, save_student
from tests.tracking.server import Server
from vicur.config.tracking import TrackingConfig
from vicur.tracking.mlflow import connect
from vicur.tracking.runs import open_tracker


def test_credentials_in_the_address_reach_neither_the_summary_nor_the_store(
    students: Make, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri.replace("//", "//ann:hunter2@"))
    tracking = TrackingConfig(experiment=tmp_path.name)
    summary = run_register(students(GOOD), config=config_for(tmp_path), tracking=tracking)
    assert summary.tracking_uri == server.uri
    files = [*Path("registered").rglob("*"), *server.folder.rglob("*")]
    for file in files:
        assert not file.is_file() or b"hunter2" not in file.read_bytes(), file


def test_a_kubeflow_step_registers_from_the_nested_run_of_the_platform(
    students: Make, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.create_experiment(tmp_path.name)
    pipeline = client.create_run(experiment, run_name="pipeline").info.run_id
    step = client.create_run(experiment, run_name="register", tags={"mlflow.parentRunId": pipeline}).info.run_id
    for name, value in {
        "MLFLOW_TRACKING_URI": server.uri,
        "MLFLOW_RUN_ID": step,
        "MLFLOW_EXPERIMENT_ID": experiment,
    }.items():
        monkeypatch.setenv(name, value)
    summary = run_register(students(GOOD), config=config_for(tmp_path))
    assert client.get_model_version(tmp_path.name, summary.version).run_id == step
    assert "report.html" in {f.path for f in client.list_artifacts(pipeline)}
    assert client.get_run(step).info.status == "RUNNING", "Kubeflow closes it"
    assert len(client.search_runs([experiment])) == 2


def test_the_version_belongs_to_the_training_run_if_the_server_has_it(
    students: Make, embedded: TrackingConfig, base_model: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    with open_tracker(embedded, "run-1", "train vicur") as trained:
        pass
    student = save_student(tmp_path / "student", base_model, GOOD, data, mlflow_run_id=trained.run_id)
    run_register({**students(GOOD), "student": student}, tracking=embedded)
    version = connect(embedded).get_model_version("students", "1")
    assert version.run_id == trained.run_id
    assert f"/runs/{trained.run_id}" in version.description


@pytest.mark.usefixtures("registered")
def test_the_packaged_model_contains_no_path_of_the_machine_that_packaged_it(
    in_store: Registration, tmp_path: Path
) -> None:
    (model,) = Path("mlflow/artifacts").glob("models/*/artifacts")
    texts = [f for f in model.rglob("*") if f.suffix in (".txt", ".yaml", ".json", "") and f.is_file()]
    assert {"MLmodel", "requirements.txt", "conda.yaml"} <= {f.name for f in texts}
    for file in texts:
        text = file.read_text(encoding="utf-8")
        assert str(tmp_path) not in text, file
        assert str(in_store.root) not in text, file
        assert str(Path(__file__).parents[2]) not in text, file
    requirements = (model / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in requirements)
    assert not any("+" in line for line in requirements), "the local label of a build is not on the package index"
    assert {line.partition("==")[0] for line in requirements} >= {"mlflow", "torch", "transformers", "pillow"}
    assert not list(model.glob("code/**/*.safetensors"))
    assert not list(model.glob("code/**/__pycache__"))
