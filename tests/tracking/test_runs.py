"""The MLflow runs of a pipeline: found again by their tags, nested, joined with a platform's, and shared by concurrent processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.forking import forking
from tests.tracking.server import Server
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.tracking.mlflow import connect
from vicur.tracking.runs import (
    OUTCOME_TAG,
    RUN_TAG,
    STAGE_TAG,
    finish_pipeline,
    metric_total,
    open_tracker,
    pipeline_run,
    stage_statuses,
)

PARENT = "mlflow.parentRunId"


def test_stage_is_a_run_nested_in_the_pipelines_run(config: TrackingConfig) -> None:
    with open_tracker(config, "run-1", "train vicur") as tracker:
        assert tracker.client.get_run(tracker.run_id).info.status == "RUNNING"
    run = tracker.client.get_run(tracker.run_id)
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


def test_stages_of_one_pipeline_run_share_their_parent(config: TrackingConfig) -> None:
    parents = [open_tracker(config, run, stage).parent_run_id for run, stage in (("a", "x"), ("a", "y"), ("b", "x"))]
    assert parents[0] == parents[1] != parents[2]


def test_run_of_the_pipeline_is_closed_with_the_pipeline(config: TrackingConfig) -> None:
    with open_tracker(config, "r", "train") as tracker:
        pass
    assert tracker.client.get_run(tracker.parent_run_id).info.status == "RUNNING"
    finish_pipeline(config, "r", "FAILED", outcome="It failed.")
    assert tracker.client.get_run(tracker.parent_run_id).info.status == "FAILED"


def test_a_later_success_clears_the_outcome_of_an_earlier_failure(config: TrackingConfig) -> None:
    finish_pipeline(config, "r", "FAILED", outcome="It failed.")
    finish_pipeline(config, "r", "FINISHED", outcome="")
    client = connect(config)
    run = client.get_run(pipeline_run(client, config, "r"))
    assert OUTCOME_TAG not in run.data.tags
    assert stage_statuses(config, "r", ["register"]) == {}


def test_a_retry_that_fails_again_does_not_leave_the_pipeline_running(config: TrackingConfig) -> None:
    """After KFP's Retry, no exit step closes the run a second time."""
    finish_pipeline(config, "r", "FAILED", outcome="It failed.")
    with pytest.raises(RuntimeError), open_tracker(config, "r", "train") as tracker:
        raise RuntimeError
    assert tracker.client.get_run(tracker.parent_run_id).info.status == "FAILED"
    assert stage_statuses(config, "r", ["train"]) == {"train": "FAILED"}
    finish_pipeline(config, "r", "FINISHED", outcome="")
    assert tracker.client.get_run(tracker.parent_run_id).info.status == "FINISHED"


def test_stages_that_were_killed_are_closed_with_the_pipeline(config: TrackingConfig) -> None:
    killed, ended = open_tracker(config, "r", "train vicur"), open_tracker(config, "r", "prepare")
    with ended:
        pass
    finish_pipeline(config, "r", "KILLED", close_stages=True)
    statuses = stage_statuses(config, "r", ["train vicur", "prepare"])
    assert statuses == {"train vicur": "KILLED", "prepare": "FINISHED"}
    del killed


@pytest.fixture
def platform(server: Server, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Return the client of a platform that sets its server's address in the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    return MlflowClient(tracking_uri=server.uri)


def nested(client: MlflowClient, name: str, parent: str, experiment: str) -> str:
    return str(client.create_run(experiment, run_name=name, tags={PARENT: parent}).info.run_id)


def test_run_that_kubeflow_started_for_a_step_is_joined_but_not_closed(
    platform: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = platform.create_experiment(f"kfp {tmp_path.name}")
    pipeline = platform.create_run(experiment, run_name="kfp run").info.run_id
    loop = nested(platform, "for-loop-1", pipeline, experiment)
    parents, steps = [], []
    for stage in ("train vicur", "train opsd"):
        step = nested(platform, stage.replace(" ", "-"), loop, experiment)
        steps.append(step)
        monkeypatch.setenv("MLFLOW_RUN_ID", step)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
        # The configured experiment is ignored: the run is in the platform's.
        platform.log_param(step, "method", json.dumps(stage.split()[1]))
        with open_tracker(TrackingConfig(experiment="another"), "uid-1", stage) as tracker:
            tracker.metrics({"loss": 1.0})
            # KFP has logged the same input as JSON.
            tracker.params({"method": stage.split()[1], "rate": 2})
        assert tracker.run_id == step
        run = platform.get_run(step)
        assert run.info.status == "RUNNING"
        assert run.data.metrics == {"loss": 1.0}
        assert run.data.tags[STAGE_TAG] == run.info.run_name == stage
        assert run.data.params["rate"] == "2"
        assert not [tag for tag in run.data.tags if "changed" in tag]
        parents.append(tracker.parent_run_id)
    assert parents == [pipeline, pipeline]
    assert platform.get_run(pipeline).data.tags[RUN_TAG] == "uid-1"
    assert platform.get_experiment_by_name("another") is None
    assert caplog.text.count("tracking.experiment is 'another', but the platform has started") == 1
    # GPU-hours of jobs are found below KFP's loop, too.
    assert metric_total(TrackingConfig(), "uid-1", "loss") == 2.0
    assert stage_statuses(TrackingConfig(), "uid-1", ["train opsd", "register"]) == {"train opsd": "RUNNING"}
    # KFP closes only the direct children of its run, so that a killed training would run for ever.
    finish_pipeline(TrackingConfig(), "uid-1", "KILLED", outcome="The run was terminated.", close_stages=True)
    assert platform.get_run(pipeline).info.status == "RUNNING"
    assert platform.get_run(pipeline).data.tags[OUTCOME_TAG] == "The run was terminated."
    assert [platform.get_run(step).info.status for step in steps] == ["KILLED", "KILLED"]
    assert platform.get_run(loop).info.status == "RUNNING"


def test_platform_run_without_a_parent_represents_the_pipeline(
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


def test_nested_platform_run_that_several_stages_inherit_becomes_their_parent(
    platform: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    experiment = platform.create_experiment(f"shared {tmp_path.name}")
    outer = platform.create_run(experiment).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", nested(platform, "by hand", outer, experiment))
    runs = [open_tracker(TrackingConfig(), "r", stage).run_id for stage in ("prepare", "train", "prepare", "train")]
    assert runs[0] == runs[2] != runs[1] == runs[3]


@pytest.mark.usefixtures("platform")
def test_missing_platform_run_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(VicurError, match="does not have the requested object"):
        open_tracker(TrackingConfig(), "r", "train")


def log_stage(stage: str, uri: str, folder: str) -> None:
    """Log a stage in a process of its own, with its output in a file of ``folder``."""
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    output = os.open(f"{stage}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 2)
    with open_tracker(TrackingConfig(uri=uri or None, experiment="concurrent"), "shared", stage) as tracker:
        tracker.params({"stage": stage})
        for step in range(20):
            tracker.metrics({f"m{i}": float(step) for i in range(20)}, step)
            tracker.flush()


@pytest.mark.parametrize("kind", ["embedded", "server"])
def test_concurrent_steps_share_one_parent_and_lose_nothing(
    kind: str, request: pytest.FixtureRequest, project: Path
) -> None:
    uri = request.getfixturevalue("server").uri if kind == "server" else ""
    stages = ["train opsd", "train vicur", "train opsd-cue"]
    # The fork server imports MLflow once for all processes.
    context = forking("mlflow.store.tracking.sqlalchemy_store", "vicur.tracking.runs")
    # Neither store nor parent exist yet: all three try to create them.
    workers = [context.Process(target=log_stage, args=(stage, uri, str(project))) for stage in stages]
    for worker in workers:
        worker.start()
    for worker, stage in zip(workers, stages, strict=True):
        worker.join(180)
        errors = (project / f"{stage}.log").read_text()
        assert worker.exitcode == 0, errors
        assert "WARNING" not in errors
        assert "unavailable" not in errors
    config = TrackingConfig(uri=uri or None, experiment="concurrent")
    client = connect(config)
    experiment = client.get_experiment_by_name("concurrent").experiment_id
    runs = client.search_runs([experiment])
    assert sorted(run.info.run_name for run in runs) == sorted([*stages, "shared"])
    (parent,) = [run.info.run_id for run in runs if run.info.run_name == "shared"]
    for run in runs:
        if run.info.run_name != "shared":
            assert run.data.tags[PARENT] == parent
            assert run.data.params == {"stage": run.info.run_name}
            assert [m.step for m in client.get_metric_history(run.info.run_id, "m19")] == list(range(20))


def test_later_of_two_creators_at_a_server_gives_way(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
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
