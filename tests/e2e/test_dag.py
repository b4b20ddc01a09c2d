"""The whole pipeline in containers of the cpu image gives the same results as in processes of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from tests.e2e.engine import Engine
from tests.pipelines.small import SMALL
from tests.tracking.server import Server, shared_server
from tests.training.conftest import curves
from vicur.config.run import RunConfig
from vicur.config.tracking import TrackingConfig
from vicur.stage.table import step_labels
from vicur.tracking.mlflow import connect
from vicur.tracking.runs import RUN_TAG, STAGE_TAG

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

# The base model of the package, which answers some questions correctly and others not.
CONFIG: dict[str, Any] = {
    "name": "containers",
    **{name: section for name, section in SMALL.items() if name != "base"},
    "methods": ["opsd", "vicur"],
    "training": {
        **SMALL["training"],
        "steps": 3,
        "batch_size": 8,
        "validation_examples": 12,
        "rollout": {"max_new_tokens": 32},
    },
    "evaluation": {"decoding": {"type": "greedy", "max_new_tokens": 40}, "attention_samples": 1},
    "comparison": {"resamples": 1000, "cards": 2},
}
STEPS = step_labels(RunConfig.model_validate(CONFIG))
# Files with results, and how many of each a run writes.
# The comparison has copies of the chosen evaluation and of the base's.
EVALUATIONS = 1 + len(CONFIG["methods"]) + 2
RESULTS = {"manifest.json": 1, "audit.json": 1, "metrics.json": EVALUATIONS, "comparison.json": 1}


@dataclass(frozen=True)
class Run:
    """Successful run of the pipeline."""

    name: str  # id of the run
    outputs: Path  # folder with the outputs of all steps
    printed: str  # standard output and error

    def json(self, file: str) -> Any:
        return json.loads((self.outputs / file).read_text())

    @property
    def files(self) -> set[str]:
        return {str(path.relative_to(self.outputs)) for path in self.outputs.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def server() -> Server:
    """Return an MLflow server on the loopback interface of this machine."""
    return shared_server()


def execute(name: str, folder: Path, server: Server, environment: dict[str, str], *options: str) -> Run:
    """Run the pipeline in a separate process, because kfp.local has global state."""
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**CONFIG, "registry": {"model": f"student-of-{name}"}}))
    variables = {"MLFLOW_TRACKING_URI": server.uri, "VICUR_RUN_ID": name, "VICUR_SCRATCH": str(folder / "scratch")}
    if options:
        del variables["VICUR_SCRATCH"]
    command = [sys.executable, "-m", "tests.e2e.dag", str(folder / f"{name}.yaml"), str(folder / name), *options]
    inherited = {key: value for key, value in environment.items() if not key.startswith(("MLFLOW_", "VICUR_"))}
    done = subprocess.run(command, env={**inherited, **variables}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    (outputs,) = (folder / name).glob("vicur-distill-*")
    return Run(name, outputs, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dag")


@pytest.fixture(scope="module")
def in_processes(folder: Path, server: Server) -> Run:
    return execute("processes", folder, server, dict(os.environ))


@pytest.fixture(scope="module")
def in_containers(folder: Path, server: Server, engine: Engine, image: str) -> Run:
    return execute("containers", folder, server, engine.environment, "--image", image)


def test_every_step_writes_the_same_files_in_a_container_as_in_a_process(in_containers, in_processes):
    assert in_containers.files == in_processes.files
    assert all((in_containers.outputs / file).stat().st_size for file in in_containers.files if "skipped" not in file)


@pytest.mark.parametrize(("name", "count"), RESULTS.items())
def test_results_match_the_run_in_processes(in_containers, in_processes, name, count):
    files = [file for file in in_containers.files if Path(file).name == name]
    assert len(files) == count
    for file in files:
        assert in_containers.json(file) == in_processes.json(file), file


def test_students_and_their_metrics_match_the_run_in_processes(in_containers, in_processes):
    students = sorted(str(Path(file).parent) for file in in_containers.files if file.endswith("student/vicur.json"))
    assert len(students) == len(CONFIG["methods"])
    for student in students:
        here, there = in_containers.outputs / student, in_processes.outputs / student
        for actual, expected in zip(curves(here), curves(there), strict=True):
            assert actual == pytest.approx(expected, rel=1e-6)
        weights, others = (load_file(folder / "model.safetensors") for folder in (here, there))
        assert weights.keys() == others.keys()
        assert max(weight.sub(others[name]).abs().max().item() for name, weight in weights.items()) < 1e-6


def test_the_base_model_answers_some_questions_correctly(in_containers):
    # Otherwise, the comparison of results would prove little.
    assert 0 < in_containers.json("evaluate-base/evaluation/metrics.json")["splits"]["test"]["accuracy"] < 1


def test_mlflow_has_a_finished_run_for_every_step(in_containers, server):
    client = connect(TrackingConfig(uri=server.uri))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`{RUN_TAG}` = '{in_containers.name}'")
    status = {run.data.tags[STAGE_TAG]: run.info.status for run in runs}
    assert status == dict.fromkeys([*STEPS, "pipeline"], "FINISHED")
    (training,) = (run for run in runs if run.data.tags[STAGE_TAG] == "train vicur")
    steps = [metric.step for metric in client.get_metric_history(training.info.run_id, "loss")]
    assert steps == list(range(1, CONFIG["training"]["steps"] + 1))


def test_a_version_was_registered_with_the_trained_weights(in_containers, in_processes, server, monkeypatch, tmp_path):
    registration = in_containers.json("register/registration/registration.json")
    assert (registration["model"], registration["version"]) == ("student-of-containers", "1")
    assert registration["gate"] == in_processes.json("register/registration/registration.json")["gate"]
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, server.uri)
    from mlflow.artifacts import download_artifacts

    download_artifacts(f"models:/{registration['model']}/{registration['version']}", dst_path=str(tmp_path))
    (downloaded,) = tmp_path.rglob("model.safetensors")
    trained = [
        in_containers.outputs / file for file in in_containers.files if file.endswith("student/model.safetensors")
    ]
    assert downloaded.read_bytes() in [file.read_bytes() for file in trained]
