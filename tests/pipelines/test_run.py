"""What ``vicur run`` promises: reuse, resumption, one clear message, and a summary whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.pipelines.conftest import Project

BEFORE_TRAINING = ["prepare", "extract", "base", "evaluate base"]
ONE_METHOD = ["--set", "methods=[vicur]"]


def wait_for(text: str, file: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not (file.exists() and text in file.read_text()):
        assert time.monotonic() < deadline, f"{text!r} never came"
        time.sleep(0.1)


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes that work in ``folder``."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                cwd = (process / "cwd").readlink()
            except OSError:
                continue
            if cwd == folder and line:
                found.append(line)
    return found


def wait_for_silence(folder: Path, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while processes_in(folder):
        assert time.monotonic() < deadline, processes_in(folder)
        time.sleep(0.1)


def test_a_run_does_every_step_and_a_second_one_reuses_them(project: Project) -> None:
    first = project.run()
    assert first.returncode == 0, first.stdout + first.stderr
    steps = [*BEFORE_TRAINING, "train opsd", "evaluate opsd", "train vicur", "evaluate vicur", "compare", "register"]
    assert project.status() == dict.fromkeys(steps, "finished")
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
    reused = dict.fromkeys([*BEFORE_TRAINING, "train vicur", "evaluate vicur"], "reused")
    # The registry's state is no part of what a stage's result is kept under, and another comparison is other work.
    assert project.status() == {**reused, "compare": "finished", "register": "finished"}
    assert project.calls()["train-vicur"] == 1
    assert [line.split()[1] for line in project.outcomes()] == ["FINISHED", "FINISHED"]


def test_wrong_input_fails_at_once_with_its_message_and_the_next_run_goes_on(project: Project) -> None:
    failed = project.run(trouble="train vicur:input")
    assert failed.returncode == 1
    message = "photo.png: row 3: is torn. Replace it."
    assert f"train vicur failed: {message}" in failed.stdout
    assert "train-vicur.log" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
    assert project.calls()["train-vicur"] == 1  # a retry would find the same
    log = (project.latest / "logs" / "train-vicur.log").read_text()
    assert message in log
    assert "Traceback" not in log
    summary = project.summary()
    assert summary["status"] == "failed"
    assert summary["error"] == {"stage": "train vicur", "message": message, "log": "logs/train-vicur.log"}
    assert (summary["evaluation"], summary["registry"]) == (None, None)
    assert summary["dataset"] is not None
    assert [line.split()[1] for line in project.outcomes()] == ["FAILED"]

    # What ran beside it came to its end, and its result is kept; the same command goes on under the same id.
    assert project.status()["train opsd"] == "finished"
    again = project.run(trouble="evaluate vicur:flaky")
    assert again.returncode == 0, again.stdout
    assert project.summary()["run_id"] == summary["run_id"]
    assert project.status()["train opsd"] == "reused"
    assert project.status()["train vicur"] == "finished"
    assert project.calls()["evaluate-vicur"] == 2  # what another attempt can mend is tried again


def test_a_defect_is_told_in_a_line_and_its_traceback_is_in_the_log(project: Project) -> None:
    run = project.run(trouble="prepare:defect")
    assert run.returncode == 1
    assert "ZeroDivisionError: division by zero" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr
    assert "Traceback" in (project.latest / "logs" / "prepare.log").read_text()


def test_a_step_that_dies_without_a_word_is_named_and_new_starts_afresh(project: Project) -> None:
    run = project.run(trouble="prepare:killed")
    assert run.returncode == 1
    assert project.summary()["error"]["stage"] == "prepare"
    assert "killed" in run.stdout
    run_id = project.summary()["run_id"]
    project.run("--new", trouble="prepare:input")
    assert project.summary()["run_id"] != run_id


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_takes_its_steps_along(project: Project, number: signal.Signals) -> None:
    with project.start(trouble="prepare:slow") as run:
        wait_for("waiting", project.latest / "events.jsonl")
        second = project.run()
        run.send_signal(number)
        output = run.communicate(timeout=30)[0]
    assert run.returncode == 128 + number
    assert "stopped" in output
    assert "Traceback" not in output
    wait_for_silence(project.folder)
    assert not [log for log in (project.latest / "logs").iterdir() if "Traceback" in log.read_text()]
    assert project.summary()["status"] == "stopped"
    # While it went on, the same command was refused.
    assert second.returncode == 2
    assert "going on in another process" in second.stderr
    assert "--new" in second.stderr


def test_a_killed_run_takes_its_steps_along_and_goes_on_where_it_was(project: Project) -> None:
    with project.start(*ONE_METHOD, trouble="train vicur:slow") as run:
        wait_for("waiting", project.latest / "events.jsonl")
        run.kill()
    wait_for_silence(project.folder)
    assert not (project.latest / "summary.json").exists()
    run_id = project.latest.readlink().name
    # The same trouble does not wait again: it finds its checkpoint. On a terminal this time (script makes one).
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
    assert "goes on" in again.stdout
    assert "✓" in again.stdout
    assert "reused" in again.stdout
    assert project.summary()["run_id"] == run_id
    assert project.status()["extract"] == "reused"
    assert project.status()["train vicur"] == "finished"
    leftovers = [path for path in project.folder.rglob(".*") if path.name.endswith((".partial", ".old"))]
    assert leftovers == []


def test_an_unwritable_runs_folder_is_told_before_anything_starts(project: Project) -> None:
    (project.folder / "runs").write_text("not a folder")
    run = project.run()
    assert run.returncode == 2
    assert "runs" in run.stderr
    assert "Choose a folder" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("setting", "words"), [("methods=[grpoo]", "'opsd'"), ("training.stepz=1", "stepz"), ("seed", "field=value")]
)
def test_a_wrong_setting_is_told_before_anything_starts(project: Project, setting: str, words: str) -> None:
    run = project.run("--set", setting)
    assert run.returncode == 2
    assert words in run.stderr
    assert "Traceback" not in run.stderr
    assert not (project.folder / "runs").exists()


@pytest.mark.skipif(find_spec("vicur_vllm") is not None, reason="the plugin is here")
@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("training.rollout.engine=vllm", "rollout"),
        ("training.teacher={type: self-frozen, engine: vllm}", "teacher"),
    ],
)
def test_an_engine_that_is_not_installed_is_told_before_anything_starts(
    project: Project, setting: str, part: str
) -> None:
    run = project.run(*ONE_METHOD, "--set", setting)
    assert run.returncode == 2
    assert f"training.{part}.engine, method vicur: vLLM or its plugin is not installed here" in run.stderr
    assert not (project.folder / "runs").exists()


@pytest.mark.parametrize(
    "settings", [["base.path=nowhere"], ["methods=[opd]", "training.teacher={type: checkpoint, path: nowhere}"]]
)
def test_a_model_that_is_not_there_is_told_before_anything_starts(project: Project, settings: list[str]) -> None:
    run = project.run(*(word for setting in settings for word in ("--set", setting)))
    assert run.returncode == 2
    assert "nowhere: is not a folder" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (project.folder / "runs").exists()
