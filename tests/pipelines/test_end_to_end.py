"""The whole pipeline with its real stages, on little data and for a few steps, from the installed wheel in an empty folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipelines.small import SMALL, summary, vicur
from tests.training.factory import save_random_base
from tests.wheel import build_wheel, install

CONFIG = {
    "name": "small",
    **SMALL,
    "evaluation": {"decoding": {"type": "greedy", "max_new_tokens": 4}, "attention_samples": 1},
    "comparison": {"resamples": 1000, "cards": 2},
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment that has the wheel and cannot import from a clone."""
    folder = tmp_path_factory.mktemp("installed")
    return install(build_wheel(folder), folder / "environment")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Path:
    folder = tmp_path_factory.mktemp("project")
    save_random_base(folder / "base")
    (folder / "small.yaml").write_text(yaml.safe_dump(CONFIG))
    run = vicur(folder, "run", "small.yaml", python=installed)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def test_a_run_ends_with_an_evaluated_and_registered_student(project: Path) -> None:
    made = summary(project)
    assert {stage["status"] for stage in made["stages"]} == {"finished"}
    assert made["dataset"]["hash"].endswith(".dir")
    assert made["dataset"]["examples"]["test"] == 18
    assert made["cues"]["provider"] == "pixels"
    assert set(made["evaluation"]["students"]) == {"opsd", "vicur"}
    for student in made["evaluation"]["students"].values():
        difference = student["difference"]
        assert difference["low"] <= difference["mean"] <= difference["high"]
        assert difference["mean"] == pytest.approx(student["test"] - made["evaluation"]["base"]["test"])
    registry = made["registry"]
    assert registry["tracking_uri"] == "sqlite:///mlflow/mlflow.db"
    assert registry["version"] == "1"
    assert "candidate" in registry["aliases"]
    # A random model learns nothing in two steps, so the gate does not pass.
    assert registry["gate"]["passed"] is False
    assert registry["gate"]["reasons"]
    assert "<html" in (project / "runs" / "latest" / "report.html").read_text()[:500]


def test_tracking_has_the_run_its_steps_and_how_it_ended(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    from vicur.config.tracking import TrackingConfig
    from vicur.tracking.mlflow import connect
    from vicur.tracking.runs import RUN_TAG, STAGE_TAG

    client = connect(TrackingConfig())
    run_id = (project / "runs" / "latest").readlink().name
    runs = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()],
        filter_string=f"tags.`{RUN_TAG}` = '{run_id}'",
    )
    status = {run.data.tags[STAGE_TAG]: run.info.status for run in runs}
    assert status["pipeline"] == "FINISHED"
    assert {"prepare", "extract", "train opsd", "train vicur", "evaluate base", "compare", "register"} <= set(status)
    assert set(status.values()) == {"FINISHED"}


def test_the_installed_package_comes_from_no_clone(installed: Path, tmp_path: Path) -> None:
    modules = "vicur, vicur_components, vicur_pipelines"
    script = f"import {modules}; print(*(m.__file__ for m in ({modules})))"
    found = subprocess.run([installed, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert all(Path(file).is_relative_to(installed.parents[1]) for file in found.split())


def test_the_same_run_again_reuses_all_work_and_finds_its_version(project: Path, installed: Path) -> None:
    first = summary(project)
    again = vicur(project, "run", "small.yaml", python=installed)
    assert again.returncode == 0, again.stdout
    made = summary(project)
    assert made["run_id"] != first["run_id"]
    assert {s["name"]: s["status"] for s in made["stages"] if s["status"] != "reused"} == {"register": "finished"}
    for part in ("dataset", "cues", "evaluation", "registry"):
        assert made[part] == first[part]


def test_a_command_reuses_what_the_run_has_made(project: Path) -> None:
    made = vicur(project, "data", "prepare", "--config", "small.yaml")
    assert made.returncode == 0, made.stderr
    assert "prepare: reused" in made.stderr


def test_champion_is_moved_by_hand_and_only_with_a_reason(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    from vicur.cli import main

    def command(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["vicur", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capfd.readouterr()
        return int(caught.value.code or 0), captured.out + captured.err

    code, text = command("promote", "candidate")
    assert (code, "did not pass the gate" in text, "--force" in text) == (2, True, True)
    code, text = command("promote", "candidate", "--force", "--reason", "a test")
    assert (code, "version 1 is the champion" in text) == (0, True)
    code, text = command("rollback")
    assert code == 2
    assert "no champion before version 1" in text
