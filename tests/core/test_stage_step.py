"""A step validates its parameters, runs its stage, and fails with one clear message."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.artifacts import FileArtifact, LoggedMetrics
from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.processes.retrying import RetryPolicy
from vicur.stage import table
from vicur.stage.events import read_events
from vicur.stage.runner import Context, Stage, Summary
from vicur.steps import stage_step
from vicur.steps.parameters import TRACKING, StepParameters, tracking_of
from vicur.steps.stage_step import RETRIES, cell_inputs, log_file, of_subject, run_step
from vicur.tracking.tracker import Tracker


class RecordedStage:
    """A stage that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[TrainConfig, dict[str, Path], Context]] = []
        self.error: Exception | None = None
        self.failures = -1  # number of calls that raise the error; -1 for all

    def __call__(self, config: TrainConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> Summary:
        self.calls.append((config, dict(inputs), context))
        if self.error is not None and (self.failures < 0 or len(self.calls) <= self.failures):
            raise self.error
        (output / "model").write_text("x")
        # KFP's launcher cannot read an output file with NaN (``getExecutorOutputFile`` in launcher_v2.go).
        return Summary(key_figure="done", metrics={"accuracy/test": 0.5, "undefined": float("nan")})


RecordedStage.__module__ = "vicur.seeds"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RecordedStage:
    stage = RecordedStage()
    entry = replace(table.STAGES["train"], reference=Stage("train", stage, Summary))
    monkeypatch.setitem(table.STAGES, "train", entry)
    monkeypatch.setattr("vicur.stage.session.open_tracker", lambda *_: Tracker())
    monkeypatch.setenv("VICUR_RUN_ID", "run-1")
    monkeypatch.setenv("VICUR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VICUR_EVENTS", str(tmp_path / "events.jsonl"))
    for name in ("VICUR_LOGS", "KUBERNETES_SERVICE_HOST", RETRIES, "KFP_RETRY_INDEX"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "dataset").write_text("rows")
    return stage


def run(tmp_path: Path, config: Mapping[str, Any] | None = None, **step: Any) -> tuple[FileArtifact, LoggedMetrics]:
    """Run the step ``train vicur`` and return its artifacts."""
    output, metrics = FileArtifact(str(tmp_path / "out")), LoggedMetrics()
    inputs = {"dataset": FileArtifact(str(tmp_path / "dataset"))}
    shared = {"config": dict(config or {}), "seed": 3.0, "subject": "vicur", **step}
    run_step("train", shared, inputs, output, metrics)
    return output, metrics


def failures(tmp_path: Path) -> list[tuple[str, bool | None]]:
    events, _ = read_events(tmp_path / "events.jsonl")
    return [(event.stage, event.retryable) for event in events if event.status == "failed"]


def test_whole_numbers_that_kfp_made_floats_are_integers_again(stage: RecordedStage, tmp_path: Path) -> None:
    run(tmp_path, {"steps": 7.0, "rollout": {"max_new_tokens": 5.0}})
    (config, inputs, context) = stage.calls[0]
    assert isinstance(config.steps, int)
    assert (config.steps, config.rollout.max_new_tokens) == (7, 5)
    assert inputs == {"dataset": tmp_path / "dataset"}
    assert (context.run_id, context.seed, context.events.stage) == ("run-1", 3, "train vicur")


def test_a_stage_learns_where_the_platform_stores_its_inputs(stage: RecordedStage, tmp_path: Path) -> None:
    dataset = FileArtifact(str(tmp_path / "dataset"), uri="minio://mlpipeline/v2/artifacts/dataset")
    run_step("train", {"config": {}, "seed": 3.0}, {"dataset": dataset}, FileArtifact(str(tmp_path / "out")))
    assert stage.calls[0][2].addresses == {"dataset": "minio://mlpipeline/v2/artifacts/dataset"}


@pytest.mark.usefixtures("stage")
def test_the_output_is_labeled_with_the_subject_and_metrics_are_logged(tmp_path: Path) -> None:
    output, metrics = run(tmp_path)
    assert Path(output.path, "model").exists()
    # KFP would fill in where the object store is, and copy it into the patch of each pod that reads the artifact.
    assert output.metadata == {"subject": "vicur", "store_session_info": ""}
    assert metrics.values == {"vicur: accuracy/test": 0.5}


def test_a_step_takes_its_tracking_from_the_environment_of_its_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    step = StepParameters(tracking=TrackingConfig(experiment="of a local run"))
    assert tracking_of(step).experiment == "of a local run"
    monkeypatch.setenv(TRACKING, '{"experiment": "of the package"}')
    assert tracking_of(step) == TrackingConfig(experiment="of the package")


def test_a_wrong_setting_fails_the_step_and_is_named(
    stage: RecordedStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, {"method": "grpoo"})
    assert caught.value.code == 2
    assert "method must be one of" in capsys.readouterr().err
    assert stage.calls == []
    assert failures(tmp_path) == [("train vicur", False)]


@pytest.mark.usefixtures("stage")
def test_an_unknown_parameter_fails_the_step_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, sead=3)
    assert "sead" in capsys.readouterr().err
    assert failures(tmp_path) == [("train vicur", False)]


def test_a_step_whose_input_is_at_fault_is_not_repeated(stage: RecordedStage, tmp_path: Path) -> None:
    stage.error = VicurError("is torn.", where="photo.png", remedy="Replace it.", exit_code=7)
    for _ in range(2):
        with pytest.raises(SystemExit):
            run(tmp_path)
    assert len(stage.calls) == 1


def test_a_step_with_a_temporary_failure_is_repeated(stage: RecordedStage, tmp_path: Path) -> None:
    stage.error = VicurError("MLflow does not answer.", remedy="Start it.", retryable=True)
    with pytest.raises(SystemExit):
        run(tmp_path)
    stage.error = None
    run(tmp_path)
    assert len(stage.calls) == 2


AWAY = VicurError("MLflow does not respond.", remedy="Start it.", retryable=True)


@pytest.fixture
def in_pod(stage: RecordedStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the step run in a pod, with short pauses."""
    del stage
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(stage_step, "RetryPolicy", lambda retries: RetryPolicy(retries, first=0.002))


@pytest.mark.usefixtures("in_pod")
def test_in_a_cluster_the_step_repeats_itself_after_a_temporary_failure(stage: RecordedStage, tmp_path: Path) -> None:
    stage.error, stage.failures = AWAY, 2
    output, metrics = run(tmp_path)
    assert len(stage.calls) == 3
    assert Path(output.path, "model").exists()
    assert metrics.values == {"vicur: accuracy/test": 0.5}
    events, _ = read_events(tmp_path / "events.jsonl")
    assert [event.status for event in events] == [*["started", "failed", "progress"] * 2, "started", "finished"]
    assert events[2].text == "attempt 2 of 4 in 0 s: MLflow does not respond. Start it."


@pytest.mark.usefixtures("in_pod")
@pytest.mark.parametrize(
    ("variables", "attempts"),
    [({}, 4), ({RETRIES: "1"}, 2), ({RETRIES: "0"}, 1), ({"KFP_RETRY_INDEX": "2"}, 2), ({"KFP_RETRY_INDEX": "9"}, 1)],
)
def test_attempts_of_a_step_are_bounded_over_all_its_pods(
    stage: RecordedStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], attempts: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stage.error = AWAY
    with pytest.raises(SystemExit):
        run(tmp_path)
    assert len(stage.calls) == attempts


@pytest.mark.usefixtures("in_pod")
def test_mlflow_that_is_away_when_a_step_starts_is_waited_for(
    stage: RecordedStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [AWAY, Tracker()]

    def connect(*_: object) -> Tracker:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("vicur.stage.session.open_tracker", connect)
    run(tmp_path)
    assert len(stage.calls) == 1


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Calls that set the status of the pipeline's run in MLflow."""
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        stage_step, "finish_pipeline", lambda config, *rest, outcome: calls.append((config.experiment, *rest, outcome))
    )
    return calls


@pytest.mark.parametrize(("name", "calls"), [("register", [("ours", "run-1", "FINISHED", "")]), ("train", [])])
def test_the_last_step_of_a_run_in_a_cluster_records_its_success(
    stage: RecordedStage, in_pod: None, finished: list[tuple[object, ...]], tmp_path: Path, name: str, calls: object
) -> None:
    """After KFP's Retry, the exit step does not run again."""
    del in_pod
    # A stage of any name, with the settings of a training.
    entry = replace(table.STAGES["train"], reference=Stage(name, stage, Summary))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(table.STAGES, name, entry)
        step = {"tracking": {"experiment": "ours"}}
        inputs = {"dataset": FileArtifact(str(tmp_path / "dataset"))}
        run_step(name, step, inputs, FileArtifact(str(tmp_path / "out")), LoggedMetrics())
    assert finished == calls


@pytest.mark.parametrize(("error", "words"), [(AWAY, ": MLflow does not respond."), (OSError("no route"), "Traceback")])
def test_mlflow_that_is_away_after_the_last_step_does_not_fail_it(
    stage: RecordedStage,
    in_pod: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    words: str,
) -> None:
    del in_pod

    def away(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(stage_step, "finish_pipeline", away)
    monkeypatch.setattr(stage_step, "LAST_STEPS", {"train"})
    run(tmp_path)
    assert len(stage.calls) == 1
    assert "The success of the run could not be recorded in MLflow" in caplog.text
    assert words in caplog.text


@pytest.mark.usefixtures("in_pod")
def test_a_wrong_input_fails_at_once_in_a_cluster_too(stage: RecordedStage, tmp_path: Path) -> None:
    stage.error = VicurError("is torn.", where="photo.png", remedy="Replace it.")
    with pytest.raises(SystemExit):
        run(tmp_path)
    assert len(stage.calls) == 1


def test_a_local_run_leaves_retries_to_the_platform(stage: RecordedStage, tmp_path: Path) -> None:
    stage.error = AWAY
    with pytest.raises(SystemExit):
        run(tmp_path)
    assert len(stage.calls) == 1


def test_a_defect_keeps_its_traceback(stage: RecordedStage, tmp_path: Path) -> None:
    stage.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        run(tmp_path)


def test_artifacts_of_cells_are_told_apart_by_their_subject_not_by_their_order() -> None:
    evaluations = [FileArtifact("e-b", {"subject": "b"}), FileArtifact("e-a", {"subject": "a"})]
    students = [FileArtifact("s-a", {"subject": "a"}), FileArtifact("s-b", {"subject": "b"})]
    assert {name: each.path for name, each in cell_inputs(evaluations).items()} == {"a": "e-a", "b": "e-b"}
    assert of_subject(students, "b").path == "s-b"


def test_each_step_writes_its_own_log_file(tmp_path: Path) -> None:
    script = """
        import os, sys
        from vicur.steps.stage_step import log_to_own_file
        print("before", flush=True)
        log_to_own_file("train vicur")
        print("from Python")
        os.write(2, b"from C\\n")
    """
    environment = {"VICUR_LOGS": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    for _ in range(2):
        assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout == "before\n"
    log = log_file(tmp_path, "train vicur")
    assert log == tmp_path / "train-vicur.log"
    assert sorted(log.read_text().splitlines()) == ["from C", "from C", "from Python", "from Python"]
