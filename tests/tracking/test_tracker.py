"""A tracker logs one stage to a JSONL file and to MLflow, and survives outages of the server."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.tracking.gate import gate
from tests.tracking.server import Server, free_port
from vicur.config.tracking import TrackingConfig
from vicur.tracking.runs import open_tracker
from vicur.tracking.tracker import Tracker


def run_of(tracker: Tracker):
    assert tracker.client is not None
    assert tracker.run_id is not None
    return tracker.client.get_run(tracker.run_id)


def test_resumed_stage_continues_its_run(config: TrackingConfig) -> None:
    first = open_tracker(config, "r", "train")
    first.metrics({"loss": 2.0}, step=1)
    first.__exit__(RuntimeError, RuntimeError(), None)
    assert run_of(first).info.status == "FAILED"
    with open_tracker(config, "r", "train") as second:
        assert run_of(second).info.status == "RUNNING"
        second.metrics({"loss": 1.0}, step=2)
    assert second.run_id == first.run_id
    history = second.client.get_metric_history(second.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 2.0), (2, 1.0)]
    assert run_of(second).info.status == "FINISHED"


def test_interrupted_stage_is_closed_as_killed(embedded: TrackingConfig) -> None:
    with pytest.raises(KeyboardInterrupt), open_tracker(embedded, "r", "train") as tracker:
        raise KeyboardInterrupt
    assert run_of(tracker).info.status == "KILLED"


def test_parameters_get_dotted_names_and_secrets_are_masked(config: TrackingConfig) -> None:
    with open_tracker(config, "r", "train") as tracker:
        tracker.params({"optimizer": {"lr": 3e-4, "betas": [0.9, 0.99]}, "teacher": None, "empty": {}})
        tracker.params({"store": {"uri": "s3://key:secret@bucket", "password": "hunter2"}})
        tracker.tags({"origin": "https://ann:hunter2@host/x"})
    run = run_of(tracker)
    assert run.data.params == {
        "optimizer.lr": "0.0003",
        "optimizer.betas": "[0.9, 0.99]",
        "teacher": "None",
        "store.uri": "s3://***@bucket",
        "store.password": "***",
    }
    assert run.data.tags["origin"] == "https://***@host/x"


def test_hundreds_of_parameters_and_metrics_are_logged(config: TrackingConfig) -> None:
    with open_tracker(config, "r", "train") as tracker:
        tracker.params({f"p{i}": i for i in range(250)})
        tracker.metrics({f"m{i}": float(i) for i in range(1200)})
    run = run_of(tracker)
    assert len(run.data.params) == 250
    assert run.data.metrics == {f"m{i}": float(i) for i in range(1200)}


def test_parameter_changed_by_a_resumed_stage_is_kept_and_tagged(config: TrackingConfig) -> None:
    for rate in (1, 2):
        with open_tracker(config, "r", "train") as tracker:
            tracker.params({"rate": rate, "same": 0})
    run = run_of(tracker)
    assert run.data.params == {"rate": "1", "same": "0"}
    assert {k: v for k, v in run.data.tags.items() if "changed" in k} == {"vicur.changed.rate": "2"}


def test_values_that_are_not_finite_reach_mlflow_and_are_null_in_the_file(
    config: TrackingConfig, tmp_path: Path
) -> None:
    with open_tracker(config, "r", "train", tmp_path / "metrics.jsonl") as tracker:
        tracker.metrics({"loss": float("nan"), "gap/whole": 0.5}, step=3)
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 3, "loss": None, "gap/whole": 0.5}
    metrics = run_of(tracker).data.metrics
    assert metrics["gap/whole"] == 0.5
    assert metrics["loss"] != metrics["loss"]


def test_files_and_folders_are_uploaded(config: TrackingConfig, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.txt").write_text("a")
    (tmp_path / "report.html").write_text("<p>")
    with open_tracker(config, "r", "evaluate") as tracker:
        tracker.artifact(folder, "samples")
        tracker.artifact(tmp_path / "report.html")
    listed = {f.path for f in tracker.client.list_artifacts(tracker.run_id)}
    assert listed == {"samples", "report.html"}
    assert Path(tracker.client.download_artifacts(tracker.run_id, "samples/deep/a.txt")).read_text() == "a"


def test_dataset_is_an_input_of_the_run_with_its_dvc_hash(config: TrackingConfig) -> None:
    with open_tracker(config, "r", "train") as tracker:
        for _ in range(2):
            tracker.dataset("digit_scenes", "d41d8cd98f00b204e9800998ecf8427e.dir", "training", {"test": 1200})
    (found,) = run_of(tracker).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.source_type) == ("digit_scenes", "dvc")
    assert found.dataset.digest == "d41d8cd98f00b204e9800998ecf8427e"
    assert json.loads(found.dataset.profile) == {"test": 1200}
    assert [(t.key, t.value) for t in found.tags] == [("mlflow.data.context", "training")]


def test_invalid_request_raises(config: TrackingConfig) -> None:
    with pytest.raises(MlflowException, match="Invalid"), open_tracker(config, "r", "train") as tracker:
        tracker.metrics({"no @ in a name": 1.0})


def test_tracker_without_mlflow_only_writes_its_file(tmp_path: Path) -> None:
    with Tracker(tmp_path / "metrics.jsonl") as tracker:
        tracker.params({"a": 1})
        tracker.tags({"a": "1"})
        tracker.metrics({"loss": 1.0}, 1)
        tracker.metrics({}, 2)
        tracker.artifact(tmp_path)
        tracker.dataset("d", "0" * 32, "training")
        tracker.flush()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n'


def test_address_of_a_tracker_has_no_secrets(
    embedded: TrackingConfig, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_tracker(embedded, "r", "s").uri == "sqlite:///mlflow/mlflow.db"
    with_user = server.uri.replace("http://", "http://ann:hunter2@")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", with_user)
    assert open_tracker(TrackingConfig(experiment="secrets"), "r", "s").uri == server.uri


def test_outage_of_the_server_costs_a_warning_but_no_metric(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with gate(server.port) as way, caplog.at_level(logging.WARNING, "vicur"):
        config = TrackingConfig(uri=f"http://127.0.0.1:{way.port}", experiment="outage")
        with open_tracker(config, "r", "s") as tracker:
            tracker.metrics({"loss": 1.0}, 1)
            way.close()
            assert not tracker.flush()
            tracker.metrics({"loss": 2.0}, 2)
            assert not tracker.flush()
            tracker.artifact(server.folder / "server.log")
            way.open()
        history = tracker.client.get_metric_history(tracker.run_id, "loss")
    assert [m.value for m in history] == [1.0, 2.0]
    assert [r.message for r in caplog.records if "is unavailable" in r.message] == [caplog.records[0].message]


def test_server_that_stays_unreachable_does_not_fail_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("vicur.tracking.tracker._CLOSE_SECONDS", 1.0)
    client = MlflowClient(tracking_uri=f"http://127.0.0.1:{free_port()}")
    with Tracker(tmp_path / "metrics.jsonl", client, "abc") as tracker:
        tracker.metrics({"loss": 1.0}, 1)
    assert "loss" in (tmp_path / "metrics.jsonl").read_text()


def test_secrets_do_not_reach_the_store(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri.replace("//", "//ann:hunter2@"))
    with open_tracker(TrackingConfig(), "r", "s") as tracker:
        tracker.params({"uri": "postgresql://ann:hunter2@db/x"})
    for file in server.folder.rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes(), file
