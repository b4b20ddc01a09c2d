"""A step validates what the platform passed, runs its stage and fails with one clear message."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.stage import table as stages
from vicur.stage.events import read_events
from vicur.stage.runner import Context, Stage, Summary
from vicur.steps import stage_step as step
from vicur.steps.stage_step import run_step
from vicur.tracking.tracker import Tracker


class Work:
    """A stage that keeps what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[TrainConfig, dict[str, Path], Context]] = []
        self.error: Exception | None = None

    def __call__(self, config: TrainConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> Summary:
        self.calls.append((config, dict(inputs), context))
        if self.error is not None:
            raise self.error
        (output / "model").write_text("x")
        return Summary(key_figure="done")


Work.__module__ = "vicur.seeds"


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Work:
    work = Work()
    monkeypatch.setitem(stages.STAGES, "train", stages.StageEntry(Stage("train", work, Summary), TrainConfig, ("out",)))
    monkeypatch.setattr("vicur.stage.session.open_tracker", lambda *_: Tracker())
    monkeypatch.setenv("VICUR_RUN_ID", "run-1")
    monkeypatch.setenv("VICUR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VICUR_EVENTS", str(tmp_path / "events.jsonl"))
    monkeypatch.delenv("VICUR_LOGS", raising=False)
    (tmp_path / "dataset").write_text("rows")
    return work


def run(tmp_path: Path, code: str = "", **config: object) -> Summary:
    inputs = {"dataset": str(tmp_path / "dataset")}
    output = str(tmp_path / "out")
    return run_step("train", config, inputs, output, seed=3, tracking={}, code=code, subject="vicur")


def failures(tmp_path: Path) -> list[tuple[str, str, bool | None]]:
    events, _ = read_events(tmp_path / "events.jsonl")
    return [(event.stage, event.text, event.retryable) for event in events if event.status == "failed"]


def test_whole_numbers_that_json_made_floats_are_whole_again(work: Work, tmp_path: Path) -> None:
    run(tmp_path, steps=7.0, rollout={"max_new_tokens": 5.0})
    (config, inputs, context) = work.calls[0]
    assert isinstance(config.steps, int)
    assert (config.steps, config.rollout.max_new_tokens) == (7, 5)
    assert inputs == {"dataset": tmp_path / "dataset"}
    assert (context.run_id, context.seed, context.events.stage) == ("run-1", 3, "train vicur")
    assert (tmp_path / "out" / "model").exists()


def test_a_wrong_setting_ends_the_step_with_its_name(
    work: Work, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, method="grpoo")
    assert caught.value.code == 2
    assert "method must be one of 'opsd'" in capsys.readouterr().err
    assert work.calls == []
    assert [(stage, retryable) for stage, _, retryable in failures(tmp_path)] == [("train vicur", False)]


def test_a_mistake_in_the_input_is_not_retried(work: Work, tmp_path: Path) -> None:
    work.error = VicurError("is torn.", where="photo.png", remedy="Replace it.", exit_code=7)
    for _ in range(2):
        with pytest.raises(SystemExit):
            run(tmp_path)
    assert len(work.calls) == 1


def test_what_may_pass_is_retried(work: Work, tmp_path: Path) -> None:
    work.error = VicurError("MLflow does not answer.", remedy="Start it.", retryable=True)
    with pytest.raises(SystemExit):
        run(tmp_path)
    work.error = None
    run(tmp_path)
    assert len(work.calls) == 2


def test_a_defect_keeps_its_traceback(work: Work, tmp_path: Path) -> None:
    work.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        run(tmp_path)


@pytest.mark.usefixtures("work")
def test_an_image_with_other_code_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run(tmp_path, code="0123")
    assert "other code" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        run(tmp_path, code=stages.STAGES["train"].reference.code)
    assert caplog.text == ""


def test_a_step_logs_to_a_file_of_its_own(tmp_path: Path) -> None:
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
    log = step.log_file(tmp_path, "train vicur")
    assert log == tmp_path / "train-vicur.log"
    assert sorted(log.read_text().splitlines()) == ["from C", "from C", "from Python", "from Python"]
