"""The whole pipeline in containers of the cpu image, beside the same run in processes of this machine."""

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

# The base that the package ships, so that answers are right and wrong, and a step as it is everywhere.
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
# Files of figures, and how many of each a run writes.
FIGURES = {"manifest.json": 1, "audit.json": 1, "metrics.json": 1 + len(CONFIG["methods"]), "comparison.json": 1}


@dataclass(frozen=True)
class Run:
    """A run of the pipeline that has ended well.

    Attributes:
        name: its id.
        outputs: folder of what its steps have written.
        printed: what it printed.
    """

    name: str
    outputs: Path
    printed: str

    def json(self, file: str) -> Any:
        return json.loads((self.outputs / file).read_text())

    @property
    def files(self) -> set[str]:
        return {str(path.relative_to(self.outputs)) for path in self.outputs.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def server() -> Server:
    """A real MLflow server on this machine's loopback."""
    return shared_server()


def execute(name: str, folder: Path, server: Server, environment: dict[str, str], *options: str) -> Run:
    """Runs the pipeline in a process of its own: kfp.local keeps its settings in the process."""
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**CONFIG, "registry": {"model": f"student-of-{name}"}}))
    told = {"MLFLOW_TRACKING_URI": server.uri, "VICUR_RUN_ID": name, "VICUR_SCRATCH": str(folder / "scratch")}
    if options:
        del told["VICUR_SCRATCH"]
    command = [sys.executable, "-m", "tests.e2e.dag", str(folder / f"{name}.yaml"), str(folder / name), *options]
    clean = {key: value for key, value in environment.items() if not key.startswith(("MLFLOW_", "VICUR_"))}
    done = subprocess.run(command, env={**clean, **told}, capture_output=True, text=True, timeout=900)
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


def test_every_step_writes_in_a_container_what_it_writes_in_a_process(in_containers, in_processes):
    assert in_containers.files == in_processes.files
    assert all((in_containers.outputs / file).stat().st_size for file in in_containers.files if "skipped" not in file)


@pytest.mark.parametrize(("name", "count"), FIGURES.items())
def test_figures_are_those_of_the_run_in_processes(in_containers, in_processes, name, count):
    found = [file for file in in_containers.files if Path(file).name == name]
    assert len(found) == count
    for file in found:
        assert in_containers.json(file) == in_processes.json(file), file


def test_students_and_their_curves_are_those_of_the_run_in_processes(in_containers, in_processes):
    students = sorted(str(Path(file).parent) for file in in_containers.files if file.endswith("student/vicur.json"))
    assert len(students) == len(CONFIG["methods"])
    for student in students:
        here, there = in_containers.outputs / student, in_processes.outputs / student
        for found, expected in zip(curves(here), curves(there), strict=True):
            assert found == pytest.approx(expected, rel=1e-6)
        weights, others = (load_file(folder / "model.safetensors") for folder in (here, there))
        assert weights.keys() == others.keys()
        assert max(weight.sub(others[name]).abs().max().item() for name, weight in weights.items()) < 1e-6


def test_steps_ran_the_code_that_the_pipeline_was_built_for(in_containers):
    assert "holds other code" not in in_containers.printed


def test_the_base_answers_some_questions_and_not_all(in_containers):
    """Otherwise equal figures would say little."""
    assert 0 < in_containers.json("evaluate/evaluation/metrics.json")["splits"]["test"]["accuracy"] < 1


def test_mlflow_has_every_step_of_the_run_and_its_end(in_containers, server):
    client = connect(TrackingConfig(uri=server.uri))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`{RUN_TAG}` = '{in_containers.name}'")
    status = {run.data.tags[STAGE_TAG]: run.info.status for run in runs}
    assert status == dict.fromkeys([*STEPS, "pipeline"], "FINISHED")
    (trained,) = (run for run in runs if run.data.tags[STAGE_TAG] == "train vicur")
    steps = [metric.step for metric in client.get_metric_history(trained.info.run_id, "loss")]
    assert steps == list(range(1, CONFIG["training"]["steps"] + 1))


def test_a_version_was_registered_and_the_server_holds_its_weights(
    in_containers, in_processes, server, monkeypatch, tmp_path
):
    told = in_containers.json("register/registration/registration.json")
    assert (told["model"], told["version"]) == ("student-of-containers", "1")
    assert told["gate"] == in_processes.json("register/registration/registration.json")["gate"]
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, server.uri)
    from mlflow.artifacts import download_artifacts

    download_artifacts(f"models:/{told['model']}/{told['version']}", dst_path=str(tmp_path))
    (held,) = tmp_path.rglob("model.safetensors")
    made = [in_containers.outputs / file for file in in_containers.files if file.endswith("student/model.safetensors")]
    assert held.read_bytes() in [file.read_bytes() for file in made]
