from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.tracking.server import Server, free_port
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.tracking.mlflow import connect
from vicur.tracking.runs import RUN_TAG, STAGE_TAG, finish_pipeline, open_tracker, pipeline_run
from vicur.tracking.tracker import Tracker

PARENT = "mlflow.parentRunId"


@pytest.fixture(params=["embedded", "server"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> TrackingConfig:
    """The embedded store and a real server: all that is promised holds for both."""
    if request.param == "embedded":
        shutil.copytree(request.getfixturevalue("empty_store"), "mlflow")
        return TrackingConfig()
    return TrackingConfig(uri=request.getfixturevalue("server").uri, experiment=tmp_path.name)


def run_of(tracker: Tracker):
    assert tracker.client is not None
    assert tracker.run_id is not None
    return tracker.client.get_run(tracker.run_id)


def test_a_stage_is_a_run_nested_in_the_pipelines(config: TrackingConfig) -> None:
    with open_tracker(config, "run-1", "train vicur") as tracker:
        assert run_of(tracker).info.status == "RUNNING"
    run = run_of(tracker)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train vicur"
    assert run.data.tags[RUN_TAG] == "run-1"
    assert run.data.tags[STAGE_TAG] == "train vicur"
    parent = tracker.client.get_run(run.data.tags[PARENT])
    assert (parent.info.run_name, parent.data.tags[RUN_TAG], parent.data.tags[STAGE_TAG]) == (
        "run-1",
        "run-1",
        "pipeline",
    )


def test_stages_of_one_run_share_its_parent_and_those_of_another_do_not(config: TrackingConfig) -> None:
    parents = [open_tracker(config, run, stage).parent_run_id for run, stage in (("a", "x"), ("a", "y"), ("b", "x"))]
    assert parents[0] == parents[1] != parents[2]


def test_a_resumed_stage_goes_on_in_its_run(config: TrackingConfig) -> None:
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


def test_a_stage_stopped_by_hand_is_closed_as_killed() -> None:
    with pytest.raises(KeyboardInterrupt), open_tracker(TrackingConfig(), "r", "train") as tracker:
        raise KeyboardInterrupt
    assert run_of(tracker).info.status == "KILLED"


def test_parameters_are_logged_by_dotted_names_and_their_secrets_masked(config: TrackingConfig) -> None:
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


def test_a_parameter_that_a_resumed_stage_changes_is_kept_and_the_change_told(config: TrackingConfig) -> None:
    for rate in (1, 2):
        with open_tracker(config, "r", "train") as tracker:
            tracker.params({"rate": rate, "same": 0})
    run = run_of(tracker)
    assert run.data.params == {"rate": "1", "same": "0"}
    assert {k: v for k, v in run.data.tags.items() if "changed" in k} == {"vicur.changed.rate": "2"}


def test_figures_that_are_not_finite_reach_mlflow_and_stand_as_null_in_the_file(
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


def test_a_dataset_is_an_input_of_the_run_by_its_dvc_hash(config: TrackingConfig) -> None:
    with open_tracker(config, "r", "train") as tracker:
        for _ in range(2):
            tracker.dataset("digit_scenes", "d41d8cd98f00b204e9800998ecf8427e.dir", "training", {"test": 1200})
    (found,) = run_of(tracker).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.source_type) == ("digit_scenes", "dvc")
    assert found.dataset.digest == "d41d8cd98f00b204e9800998ecf8427e"
    assert json.loads(found.dataset.profile) == {"test": 1200}
    assert [(t.key, t.value) for t in found.tags] == [("mlflow.data.context", "training")]


def test_the_pipelines_run_is_closed_when_the_pipeline_is(config: TrackingConfig) -> None:
    with open_tracker(config, "r", "train") as tracker:
        pass
    assert tracker.client.get_run(tracker.parent_run_id).info.status == "RUNNING"
    finish_pipeline(config, "r", "FAILED")
    assert tracker.client.get_run(tracker.parent_run_id).info.status == "FAILED"


def test_a_wrong_request_is_a_defect_and_raises(config: TrackingConfig) -> None:
    with pytest.raises(MlflowException, match="Invalid"), open_tracker(config, "r", "train") as tracker:
        tracker.metrics({"no @ in a name": 1.0})


def test_without_mlflow_a_tracker_only_writes_its_file(tmp_path: Path) -> None:
    with Tracker(tmp_path / "metrics.jsonl") as tracker:
        tracker.params({"a": 1})
        tracker.tags({"a": "1"})
        tracker.metrics({"loss": 1.0}, 1)
        tracker.metrics({}, 2)
        tracker.artifact(tmp_path)
        tracker.dataset("d", "0" * 32, "training")
        tracker.flush()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n'


def test_a_tracker_shows_an_address_without_secrets(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_tracker(TrackingConfig(), "r", "s").uri == "sqlite:///mlflow/mlflow.db"
    with_user = server.uri.replace("http://", "http://ann:hunter2@")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", with_user)
    assert open_tracker(TrackingConfig(experiment="secrets"), "r", "s").uri == server.uri


# --- runs that a platform has started ---


@pytest.fixture
def platform(server: Server, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A platform with a server of its own, whose address it puts into the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    return MlflowClient(tracking_uri=server.uri)


def nested(client: MlflowClient, name: str, parent: str, experiment: str) -> str:
    return str(client.create_run(experiment, run_name=name, tags={PARENT: parent}).info.run_id)


def test_the_run_that_kubeflow_nests_for_a_step_is_joined_and_left_for_kubeflow_to_close(
    platform: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    experiment = platform.create_experiment(f"kfp {tmp_path.name}")
    pipeline = platform.create_run(experiment, run_name="kfp run").info.run_id
    loop = nested(platform, "for-loop-1", pipeline, experiment)
    parents = []
    for stage in ("train vicur", "train opsd"):
        step = nested(platform, stage.replace(" ", "-"), loop, experiment)
        monkeypatch.setenv("MLFLOW_RUN_ID", step)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
        # What the configuration says does not count: the run stands where the platform says.
        with open_tracker(TrackingConfig(experiment="another"), "uid-1", stage) as tracker:
            tracker.metrics({"loss": 1.0})
        assert tracker.run_id == step
        run = platform.get_run(step)
        assert run.info.status == "RUNNING"
        assert run.data.metrics == {"loss": 1.0}
        assert run.data.tags[STAGE_TAG] == stage
        parents.append(tracker.parent_run_id)
    assert parents == [pipeline, pipeline]
    assert platform.get_run(pipeline).data.tags[RUN_TAG] == "uid-1"
    assert platform.get_experiment_by_name("another") is None
    finish_pipeline(TrackingConfig(), "uid-1", "FINISHED")
    assert platform.get_run(pipeline).info.status == "RUNNING"


def test_a_platforms_run_that_is_nested_in_nothing_stands_for_the_pipeline(
    platform: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    experiment = platform.create_experiment(f"plain {tmp_path.name}")
    outer = platform.create_run(experiment, run_name="mine").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", outer)
    with open_tracker(TrackingConfig(), "r", "train") as tracker:
        pass
    run = platform.get_run(tracker.run_id)
    assert run.data.tags[PARENT] == outer
    assert (run.info.experiment_id, run.info.status) == (experiment, "FINISHED")


def test_a_nested_run_that_several_stages_inherit_gets_them_as_its_children(
    platform: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    experiment = platform.create_experiment(f"shared {tmp_path.name}")
    outer = platform.create_run(experiment).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", nested(platform, "by hand", outer, experiment))
    runs = [open_tracker(TrackingConfig(), "r", stage).run_id for stage in ("prepare", "train", "prepare", "train")]
    assert runs[0] == runs[2] != runs[1] == runs[3]


@pytest.mark.usefixtures("platform")
def test_a_platforms_run_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(VicurError, match="does not have the requested object"):
        open_tracker(TrackingConfig(), "r", "train")


# --- several processes, and a server that goes away ---

WORKER = """
import sys
from vicur.config.tracking import TrackingConfig
from vicur.tracking.runs import open_tracker
stage, uri = sys.argv[1], sys.argv[2] or None
with open_tracker(TrackingConfig(uri=uri, experiment="side by side"), "shared", stage) as tracker:
    tracker.params({"stage": stage})
    for step in range(30):
        tracker.metrics({f"m{i}": float(step) for i in range(20)}, step)
        tracker.flush()
print(tracker.parent_run_id)
"""


@pytest.mark.parametrize("kind", ["embedded", "server"])
def test_steps_side_by_side_share_one_parent_and_lose_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue("server").uri if kind == "server" else ""
    stages = ["train opsd", "train vicur", "train opsd-cue"]
    # No store and no parent yet: all three meet at creating them.
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, stage, uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for stage in stages
    ]
    outputs = [worker.communicate(timeout=180) for worker in workers]
    for worker, (_, errors) in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, errors.decode()
        assert b"WARNING" not in errors, errors.decode()
        assert b"is unavailable" not in errors, errors.decode()
    assert len({out for out, _ in outputs}) == 1
    config = TrackingConfig(uri=uri or None, experiment="side by side")
    client = connect(config)
    experiment = client.get_experiment_by_name("side by side").experiment_id
    runs = client.search_runs([experiment])
    assert sorted(run.info.run_name for run in runs) == sorted([*stages, "shared"])
    for run in runs:
        if run.info.run_name != "shared":
            assert run.data.params == {"stage": run.info.run_name}
            assert [m.step for m in client.get_metric_history(run.info.run_id, "m19")] == list(range(30))


def test_of_two_creators_at_a_server_the_later_gives_way(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrackingConfig(uri=server.uri, experiment="race")
    other: list[str] = []
    create = MlflowClient.create_run

    def overtaken(self: MlflowClient, experiment_id: str, **fields: object):
        monkeypatch.setattr(MlflowClient, "create_run", create)
        other.append(pipeline_run(connect(config), config, "r"))
        return create(self, experiment_id, **fields)

    client = connect(config)
    monkeypatch.setattr(MlflowClient, "create_run", overtaken)
    assert pipeline_run(client, config, "r") == other[0]
    assert len(client.search_runs([client.get_experiment_by_name("race").experiment_id])) == 1


def test_a_server_that_goes_away_and_comes_back_costs_a_warning_and_no_figure(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = TrackingConfig(uri=server.uri, experiment="outage")
    with caplog.at_level(logging.WARNING, "vicur"), open_tracker(config, "r", "s") as tracker:
        tracker.metrics({"loss": 1.0}, 1)
        server.stop()
        try:
            tracker.flush()
            tracker.metrics({"loss": 2.0}, 2)
            tracker.flush()
            tracker.artifact(server.folder / "server.log")
        finally:
            server.start()
    assert [m.value for m in tracker.client.get_metric_history(tracker.run_id, "loss")] == [1.0, 2.0]
    assert [r.message for r in caplog.records if "is unavailable" in r.message] == [caplog.records[0].message]


def test_a_server_that_stays_away_does_not_fail_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    client = MlflowClient(tracking_uri=f"http://127.0.0.1:{free_port()}")
    with Tracker(tmp_path / "metrics.jsonl", client, "abc") as tracker:
        tracker.metrics({"loss": 1.0}, 1)
    assert "loss" in (tmp_path / "metrics.jsonl").read_text()


def test_no_secret_reaches_the_store(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri.replace("//", "//ann:hunter2@"))
    with open_tracker(TrackingConfig(), "r", "s") as tracker:
        tracker.params({"uri": "postgresql://ann:hunter2@db/x"})
    for file in server.folder.rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes(), file
