"""A training step on two nodes, end to end: real client, training, S3 client and MLflow with doubles of the cluster and S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.artifacts import FileArtifact, LoggedMetrics, artifacts
from tests.cluster.api_server_double import ApiServerDouble
from tests.cluster.kubelet_double import KubeletDouble
from tests.cluster.trainer_status_double import trainer_status_server
from tests.training.train_once import SETTINGS, tracking, train_once
from vicur.processes.signals import EXIT_CODE
from vicur.steps.stage_step import run_step
from vicur.tracking.mlflow import connect

pytestmark = pytest.mark.slow
# One process per node, to compare the weights of two nodes with those of one process.
SECTION = {**SETTINGS.model_dump(mode="json"), "distribution": {"processes": 1}}
CLUSTER = {"nodes": 2.0, "gpu_count": 0.0, "image": "vicur-python:test"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServerDouble]:
    """Return a cluster that runs the nodes as processes."""
    with ApiServerDouble(KubeletDouble(tmp_path / "nodes", drain_at="train vicur: progress")).serving() as server:
        (tmp_path / "kubeconfig").write_text(server.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.setenv("VICUR_RUN_ID", "run-1")
        monkeypatch.setenv("VICUR_SCRATCH", str(tmp_path / "scratch"))
        yield server


def step(inputs: dict[str, Path], root: Path, bucket: Any, cluster: dict[str, Any] = CLUSTER, **section: Any) -> Any:
    parameters = {
        "config": {**SECTION, **section},
        "tracking": tracking(root).model_dump(mode="json"),
        "subject": "vicur",
        "checkpoints": f"s3://{bucket.name}/checkpoints",
        "cluster": cluster,
    }
    student = FileArtifact(str(root / "student"))
    return run_step("train", parameters, artifacts(inputs), student, LoggedMetrics())


def assert_same_weights(student: Path, alone: Path) -> None:
    expected, actual = (load_file(folder / "model.safetensors") for folder in (alone, student))
    assert expected.keys() == actual.keys()
    for name, weight in expected.items():
        assert weight.sub(actual[name]).abs().max() < 1e-4, name


def test_drained_node_ends_the_step_with_75_and_the_retry_gives_the_weights_of_one_process(
    inputs, server, bucket, tmp_path, capfd
):
    with pytest.raises(SystemExit) as ended:
        step(inputs, tmp_path, bucket)
    assert ended.value.code == EXIT_CODE
    output = capfd.readouterr()
    assert "train vicur: progress" in output.out, "node 0's log is streamed"
    assert "exited with status 75" in output.err
    assert not (tmp_path / "student").exists()
    server.until(lambda: server.jobs == {} and server.pods == {})
    before = steps_in(bucket)
    assert before
    assert max(before) < f"step-{SETTINGS.steps:06d}"

    summary = step(inputs, tmp_path, bucket)
    assert summary.steps == SETTINGS.steps
    assert summary.key_figure.startswith("validation accuracy")
    assert len(server.created) == 2
    server.until(lambda: server.jobs == {} and server.pods == {})
    assert list((tmp_path / "nodes").glob("*/vicur-node-*")) == []
    assert max(steps_in(bucket)) == f"step-{SETTINGS.steps:06d}"
    assert_same_weights(tmp_path / "student", train_once(inputs, tmp_path / "alone"))
    assert json.loads((tmp_path / "student" / "vicur.json").read_text())["processes"] == 2
    assert not (tmp_path / "student" / "result.json").exists()

    client = connect(tracking(tmp_path))
    (run,) = client.search_runs(["1"], "tags.`vicur.stage` = 'train vicur'")
    assert run.info.status == "FINISHED"
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert steps == list(range(1, SETTINGS.steps + 1)), "each step once"


def test_training_on_one_node_as_a_job_gets_the_signal_and_resumes_bit_identically(
    inputs, server, bucket, tmp_path, capfd
):
    # Kubeflow Pipelines would kill the step's own pod without a checkpoint.
    one = {**CLUSTER, "nodes": 1.0, "jobs": {"always": True}}
    with pytest.raises(SystemExit) as ended:
        step(inputs, tmp_path, bucket, one)
    assert ended.value.code == EXIT_CODE
    assert "stopped after SIGTERM at step" in capfd.readouterr().out
    server.until(lambda: server.jobs == {} and server.pods == {})
    assert steps_in(bucket)

    with trainer_status_server(tmp_path / "mounted", "vicur-train") as trainer:
        server.play.variables = trainer.environment
        assert step(inputs, tmp_path, bucket, one).steps == SETTINGS.steps
    assert trainer.accepted[-1]["progressPercentage"] == 100
    (first, _) = server.created
    assert first["spec"]["trainer"]["numNodes"] == 1
    alone = train_once(inputs, tmp_path / "alone")
    assert (tmp_path / "student" / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()


def steps_in(bucket: Any) -> set[str]:
    """Return the names of the checkpoints in the bucket, which contains nothing else but inputs."""
    below = [each.key.split("/")[1:3] for each in bucket.objects.all()]
    return {name for folder, name in below if folder != "inputs"}


def test_invalid_input_on_a_node_ends_the_step_with_2(inputs, server, bucket, tmp_path, caplog):
    with pytest.raises(SystemExit) as ended:
        step(inputs, tmp_path, bucket, max_prompt_tokens=1)
    assert ended.value.code == 2
    assert "24 of 24 distillation examples cannot be used" in caplog.text.replace("\n", " ")
    server.until(lambda: server.jobs == {})


def test_invalid_settings_are_rejected_before_a_job_is_created(inputs, server, bucket, tmp_path, capfd):
    with pytest.raises(SystemExit):
        step(inputs, tmp_path, bucket, batch_size=3)
    assert "cannot be divided equally among 2 processes" in capfd.readouterr().err
    assert server.created == []


def test_several_nodes_require_checkpoints_on_s3(inputs, server, tmp_path, capfd):
    parameters = {"config": SECTION, "checkpoints": str(tmp_path), "cluster": CLUSTER}
    with pytest.raises(SystemExit):
        run_step("train", parameters, artifacts(inputs), FileArtifact(str(tmp_path / "student")), LoggedMetrics())
    assert "Set checkpoints to an S3 address" in capfd.readouterr().err
    assert server.created == []
