"""A package runs a component of its image, as the launcher of Kubeflow Pipelines starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vicur_components.__main__ import main, run_id

from tests.components.recorder import Recorder
from vicur.errors import VicurError
from vicur.steps.mounted import use_mounted_settings

RUN = "15dd0c8c-ac0e-4fda-a311-760405163b5f"
UNIQUE = "98851479-6924-408b-96d6-908c11c0e562"


def executor_input(root: Path, task: str, inputs: dict[str, Any], *outputs: str) -> dict[str, Any]:
    """What the driver of KFP 2.17 resolves for a task."""
    folder = f"{root}/vicur-cluster/{RUN}/{task}/{UNIQUE}"
    kinds = {"metrics": "system.Metrics", "report": "system.HTML", "record": "system.Markdown"}
    made = {
        name: {"artifacts": [{"name": name, "type": {"schemaTitle": kind}, "uri": f"{folder}/{name}"}]}
        for name, kind in ((name, kinds.get(name, "system.Artifact")) for name in outputs)
    }
    return {"inputs": inputs, "outputs": {"artifacts": made, "outputFile": f"{folder}/output_metadata.json"}}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restored after the test, in which the process sets its own."""
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"]})


def test_the_function_gets_its_inputs_and_its_outputs_are_written(recorder: Recorder, tmp_path: Path) -> None:
    evaluations = [
        {"name": str(number), "uri": str(tmp_path / f"e-{subject}"), "metadata": {"subject": subject}}
        for number, subject in enumerate(("vicur", "opsd"))
    ]
    artifacts = {
        name: {"artifacts": [{"name": "9", "uri": str(tmp_path / name)}]} for name in ("dataset", "cues", "base")
    }
    inputs = {
        "artifacts": {**artifacts, "evaluations": {"artifacts": evaluations}},
        "parameterValues": {"step": {"seed": 3}},
    }
    given = executor_input(tmp_path, "compare", inputs, "comparison", "report", "metrics")
    main("compare.component:compare", json.dumps(given))
    assert (recorder.name, recorder.step) == ("compare", {"seed": 3})
    assert recorder.inputs == {
        **{name: name for name in ("dataset", "cues", "base")},
        **{subject: f"e-{subject}" for subject in ("vicur", "opsd")},
    }
    written = json.loads(Path(given["outputs"]["outputFile"]).read_text())["artifacts"]
    assert written.keys() == {"comparison", "report", "metrics"}
    assert written["metrics"]["artifacts"][0]["metadata"] == {"accuracy/test": 0.5}
    assert os.environ["VICUR_RUN_ID"] == RUN


def test_what_the_driver_adds_to_the_inputs_and_outputs_of_a_step_is_left_alone(
    recorder: Recorder, tmp_path: Path
) -> None:
    """``provisionOutputs`` adds the log, parameters of the pod come along, and ``ToRuntimeArtifact`` gives inputs an empty schema."""
    artifacts = {"model": {"artifacts": [{"name": "9", "uri": str(tmp_path / "m"), "type": {"instanceSchema": ""}}]}}
    artifacts["dataset"] = artifacts["model"]
    parameters = {"step": {"seed": 3}, "image": "vicur:1", "gpu_type": "nvidia.com/gpu"}
    inputs = {"artifacts": artifacts, "parameterValues": parameters}
    given = executor_input(tmp_path, "evaluate", inputs, "evaluation", "metrics", "executor-logs")
    main("evaluate.component:evaluate", json.dumps(given))
    assert recorder.step == {"seed": 3}
    written = json.loads(Path(given["outputs"]["outputFile"]).read_text())
    assert written["artifacts"].keys() == {"evaluation", "metrics", "executor-logs"}


def test_the_exit_step_gets_the_final_status_and_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr("vicur.steps.exit_step.run_exit_step", lambda *args: calls.append(args) or "text")
    status = {"state": "SUCCEEDED", "error": {}, "pipelineJobResourceName": "x", "pipelineTaskName": "exit-handler-1"}
    given = executor_input(tmp_path, "outcome", {"parameterValues": {"status": status, "tracking": {}}}, "record")
    main("outcome.component:outcome", json.dumps(given))
    assert calls == [("SUCCEEDED", None, {}, {})]


def test_the_command_of_a_package_runs_where_folders_have_the_names_of_modules(tmp_path: Path) -> None:
    """``prepareOutputFolders`` (launcher_v2.go) makes /tmp/kfp/outputs, and pods start in /tmp."""
    for name in ("kfp/outputs", "vicur"):
        (tmp_path / name).mkdir(parents=True)
    status = {"state": "SUCCEEDED", "error": {}, "pipelineJobResourceName": "x", "pipelineTaskName": "exit-handler-1"}
    inputs = {"parameterValues": {"status": status, "tracking": {}, "image": "vicur:1"}}
    given = executor_input(tmp_path, "outcome", inputs, "record", "executor-logs")
    command = [sys.executable, "-P", "-m", "vicur_components", "outcome.component:outcome", json.dumps(given)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run(command, cwd=tmp_path, env=environment, timeout=120, check=True)
    written = json.loads(Path(given["outputs"]["outputFile"]).read_text())["artifacts"]
    assert written.keys() == {"record", "executor-logs"}
    assert "succeeded" in Path(written["record"]["artifacts"][0]["uri"]).read_text()


def test_an_unknown_path_of_the_outputs_is_refused() -> None:
    with pytest.raises(VicurError, match="no run id in the path of the outputs"):
        run_id({"outputs": {"outputFile": "/tmp/output_metadata.json"}})  # noqa: S108


def test_secrets_and_endpoints_are_read_from_the_volumes_of_the_pod(tmp_path: Path) -> None:
    for name, text in {
        "mlflow/MLFLOW_TRACKING_USERNAME": "ann",
        "mlflow/MLFLOW_TRACKING_PASSWORD": "hush\n",
        "endpoints/MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "endpoints/AWS_DEFAULT_REGION": "eu-west-1",
        "storage/AWS_ACCESS_KEY_ID": "key",
        "storage/LD_PRELOAD": "/evil.so",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    os.environ["AWS_DEFAULT_REGION"] = "set in the pod"
    before = os.environ.keys() - {"AWS_DEFAULT_REGION"}
    use_mounted_settings(tmp_path)
    assert {name: value for name, value in os.environ.items() if name not in before} == {
        "VICUR_MLFLOW_USERNAME": "ann",
        "VICUR_MLFLOW_PASSWORD": "hush",
        "VICUR_MLFLOW_URI": "http://mlflow:5000",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_DEFAULT_REGION": "set in the pod",
    }


def test_a_pod_without_volumes_keeps_its_environment(tmp_path: Path) -> None:
    before = dict(os.environ)
    use_mounted_settings(tmp_path / "none")
    assert before == os.environ
