"""``vicur run``: reuse, resumption, clear error messages, and a summary in every case."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.calling import caller
from tests.pipelines.conftest import Project
from vicur.config.run import RunConfig
from vicur.stage.table import step_labels

ONE_METHOD = ["--set", "methods=[vicur]"]


def wait_for(text: str, file: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not (file.exists() and text in file.read_text()):
        assert time.monotonic() < deadline, f"{text!r} never appeared"
        time.sleep(0.1)


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes that work in ``folder``."""
    lines = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                cwd = (process / "cwd").readlink()
            except OSError:
                continue
            if cwd == folder and line:
                lines.append(line)
    return lines


def wait_for_no_processes(folder: Path, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while processes_in(folder):
        assert time.monotonic() < deadline, processes_in(folder)
        time.sleep(0.1)


def test_a_run_does_every_step_and_a_second_one_reuses_them(project: Project) -> None:
    first = project.run()
    assert first.returncode == 0, first.stdout + first.stderr
    assert project.status() == dict.fromkeys(step_labels(RunConfig()), "finished")
    for words in (
        "best on validation",
        "train vicur: finished",
        "+10.0 [+5.0, +15.0]",
        "report.html",
        "version 1 (candidate, champion)",
    ):
        assert words in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    assert "\x1b" not in first.stdout  # plain lines where there is no terminal
    link = project.latest.readlink()
    assert not link.is_absolute()

    summary = project.summary()
    assert (summary["run_id"], summary["status"], summary["error"]) == (link.name, "succeeded", None)
    assert summary["seconds"] > 0
    assert all(stage["seconds"] >= 0 for stage in summary["stages"])
    assert summary["dataset"] == {"hash": "0123.dir", "examples": {"distill": 2, "test": 1}}
    assert summary["cues"] == {"provider": "fake", "grounded_share": 1.0, "answer_leak_share": 0.0}
    student = {"test": 0.7, "ood": 0.5, "difference": {"mean": 0.1, "low": 0.05, "high": 0.15}}
    assert summary["evaluation"] == {
        "base": {"test": 0.6, "ood": 0.4},
        "students": {"opsd": student, "vicur": student},
    }
    assert summary["registry"] == {
        "tracking_uri": "sqlite:///mlflow/mlflow.db",
        "model": "vicur-student",
        "version": "1",
        "aliases": ["candidate", "champion"],
        "gate": {"passed": True, "reasons": ["better than base"]},
    }
    assert (project.latest / "report.html").read_text() == "<p>report</p>"
    assert not (project.latest / "tmp").exists()

    second = project.run(*ONE_METHOD)
    assert second.returncode == 0, second.stdout
    assert project.latest.readlink() != link
    reused = dict.fromkeys(step_labels(RunConfig(methods=("vicur",))), "reused")
    # The result of registration depends on the registry, and another set of methods needs another comparison.
    assert project.status() == {**reused, "compare": "finished", "register": "finished"}
    assert project.calls()["train-vicur"] == 1
    assert [line.split()[1] for line in project.outcomes()] == ["FINISHED", "FINISHED"]


def test_wrong_input_fails_without_a_retry_and_the_same_command_resumes(project: Project) -> None:
    failed = project.run(trouble="train vicur:input")
    assert failed.returncode == 1
    message = "photo.png: row 3: is torn. Replace it."
    assert f"train vicur failed: {message}" in failed.stdout
    assert "train-vicur.log" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
    assert project.calls()["train-vicur"] == 1  # a retry cannot help
    log = (project.latest / "logs" / "train-vicur.log").read_text()
    assert message in log
    assert "Traceback" not in log
    summary = project.summary()
    assert summary["status"] == "failed"
    assert summary["error"] == {"stage": "train vicur", "message": message, "log": "logs/train-vicur.log"}
    assert (summary["evaluation"], summary["registry"]) == (None, None)
    assert summary["dataset"] is not None
    assert [line.split()[1] for line in project.outcomes()] == ["FAILED"]

    # The other student was trained to its end and is reused. The same command resumes with the same id.
    assert project.status()["train opsd"] == "finished"
    again = project.run(trouble="evaluate vicur:flaky")
    assert again.returncode == 0, again.stdout
    assert project.summary()["run_id"] == summary["run_id"]
    assert project.status()["train opsd"] == "reused"
    assert project.status()["train vicur"] == "finished"
    assert project.calls()["evaluate-vicur"] == 2  # a temporary error is retried


def test_a_step_that_was_killed_is_named_and_new_starts_a_new_run(project: Project) -> None:
    run = project.run(trouble="prepare:killed")
    assert run.returncode == 1
    assert project.summary()["error"]["stage"] == "prepare"
    assert "killed" in run.stdout
    run_id = project.summary()["run_id"]

    # A defect of the code is reported on one line, and its traceback is in the log.
    new = project.run("--new", trouble="prepare:defect")
    assert project.summary()["run_id"] != run_id
    assert new.returncode == 1
    assert "ZeroDivisionError: division by zero" in new.stdout
    assert "Traceback" not in new.stdout + new.stderr
    assert "Traceback" in (project.latest / "logs" / "prepare.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_a_run_stops_its_steps(project: Project, number: signal.Signals) -> None:
    with project.start(trouble="prepare:slow") as run:
        wait_for("waiting", project.latest / "events.jsonl")
        second = project.run()
        run.send_signal(number)
        output = run.communicate(timeout=30)[0]
    assert run.returncode == 128 + number
    assert "stopped" in output
    assert "Traceback" not in output
    wait_for_no_processes(project.folder)
    assert not [log for log in (project.latest / "logs").iterdir() if "Traceback" in log.read_text()]
    assert project.summary()["status"] == "stopped"
    # While it was running, the same command was refused.
    assert second.returncode == 2
    assert "another process is running this run" in second.stderr
    assert "--new" in second.stderr


def test_killing_a_run_ends_its_steps_and_the_same_command_resumes_it(project: Project) -> None:
    with project.start(*ONE_METHOD, trouble="train vicur:slow") as run:
        wait_for("waiting", project.latest / "events.jsonl")
        run.kill()
    wait_for_no_processes(project.folder)
    assert not (project.latest / "summary.json").exists()
    run_id = project.latest.readlink().name
    # The step finds its checkpoint and does not wait again. The command script provides a terminal.
    command = " ".join(f"'{part}'" for part in project.command(*ONE_METHOD))
    again = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        cwd=project.folder,
        env={**project.environment("train vicur:slow"), "TERM": "xterm", "COLUMNS": "100", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert again.returncode == 0, again.stdout
    assert "Resuming run" in again.stdout
    assert "✓" in again.stdout
    assert "reused" in again.stdout
    assert project.summary()["run_id"] == run_id
    assert project.status()["extract"] == "reused"
    assert project.status()["train vicur"] == "finished"
    leftovers = [path for path in project.folder.rglob(".*") if path.name.endswith((".partial", ".old"))]
    assert leftovers == []


@pytest.fixture
def refused(project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs ``vicur run`` in this process, which must refuse it, and returns the error."""
    monkeypatch.chdir(project.folder)
    vicur = caller(monkeypatch, capfd)

    def run(*settings: str) -> str:
        result = vicur("run", *(word for setting in ("base.path=base", *settings) for word in ("--set", setting)))
        assert result.code == 2
        assert "Traceback" not in result.error
        return result.error

    return run


def test_an_unwritable_folder_of_runs_is_reported_before_anything_starts(
    project: Project, refused: Callable[..., str]
) -> None:
    (project.folder / "runs").write_text("not a folder")
    error = refused()
    assert "runs" in error
    assert "Choose a folder" in error


@pytest.mark.parametrize(
    ("setting", "problem"), [("methods=[grpoo]", "'opsd'"), ("training.stepz=1", "stepz"), ("seed", "field=value")]
)
def test_a_wrong_setting_is_reported_before_anything_starts(
    project: Project, refused: Callable[..., str], setting: str, problem: str
) -> None:
    assert problem in refused(setting)
    assert not (project.folder / "runs").exists()


@pytest.mark.skipif(find_spec("vicur_vllm") is not None, reason="the plugin is installed")
@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("training.rollout.engine=vllm", "rollout"),
        ("training.teacher={type: self-frozen, engine: vllm}", "teacher"),
    ],
)
def test_a_missing_engine_is_reported_before_anything_starts(
    project: Project, refused: Callable[..., str], setting: str, part: str
) -> None:
    assert f"training.{part}.engine, method vicur: vLLM" in refused("methods=[vicur]", setting)
    assert not (project.folder / "runs").exists()


@pytest.mark.parametrize(
    "settings", [["base.path=nowhere"], ["methods=[opd]", "training.teacher={type: checkpoint, path: nowhere}"]]
)
def test_a_missing_model_is_reported_before_anything_starts(
    project: Project, refused: Callable[..., str], settings: list[str]
) -> None:
    assert "nowhere" in refused(*settings)
    assert not (project.folder / "runs").exists()
