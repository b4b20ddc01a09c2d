"""A command resumes a run or starts a new one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vicur_pipelines.run_folder import RunFolder, all_runs, open_run, point_latest_at

from vicur.config.ablation import AblationConfig, Arm
from vicur.config.run import RunConfig
from vicur.errors import VicurError

LOCAL = RunConfig()
OTHER = RunConfig(seed=1)


def end(run: RunFolder, status: str) -> None:
    run.summary.write_text(json.dumps({"status": status}))


def test_a_run_that_has_not_succeeded_is_resumed(tmp_path: Path) -> None:
    first, resumed = open_run(tmp_path, LOCAL)
    assert not resumed
    assert first.config() == LOCAL
    assert open_run(tmp_path, LOCAL) == (first, True)
    for status in ("failed", "stopped"):
        end(first, status)
        assert open_run(tmp_path, LOCAL) == (first, True)


def test_a_run_that_has_succeeded_is_not_resumed(tmp_path: Path) -> None:
    first, _ = open_run(tmp_path, LOCAL)
    end(first, "succeeded")
    second, resumed = open_run(tmp_path, LOCAL)
    assert not resumed
    assert second.run_id != first.run_id
    assert [run.run_id for run in all_runs(tmp_path)] == [first.run_id, second.run_id]


def test_another_configuration_starts_another_run(tmp_path: Path) -> None:
    first, _ = open_run(tmp_path, LOCAL)
    other, resumed = open_run(tmp_path, OTHER)
    assert not resumed
    assert other != first
    assert open_run(tmp_path, LOCAL) == (first, True)


def test_runs_of_different_pipelines_are_kept_apart(tmp_path: Path) -> None:
    ablation = AblationConfig(name="local", arms=(Arm(name="a", about="a", method="vicur"),))
    first, _ = open_run(tmp_path, LOCAL)
    other, resumed = open_run(tmp_path, ablation)
    assert not resumed
    assert (first.config(), other.config()) == (LOCAL, ablation)
    assert open_run(tmp_path, ablation) == (other, True)


def test_new_starts_a_new_run(tmp_path: Path) -> None:
    first, _ = open_run(tmp_path, LOCAL)
    second, resumed = open_run(tmp_path, LOCAL, new=True)
    assert not resumed
    assert second != first
    # The newest run of a configuration is the one that is resumed.
    assert open_run(tmp_path, LOCAL) == (second, True)


def test_an_unreadable_record_of_another_run_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "local-1").mkdir()
    (tmp_path / "local-1" / "run.json").write_text("{")
    (tmp_path / "notes").mkdir()
    run, resumed = open_run(tmp_path, LOCAL)
    assert not resumed
    assert run in all_runs(tmp_path)


def test_preparing_keeps_logs_and_removes_partial_outputs(tmp_path: Path) -> None:
    run, _ = open_run(tmp_path, LOCAL)
    run.prepare()
    (run.outputs / "half").write_text("x")
    (run.logs / "train.log").write_text("first\n")
    run.events.write_text("{}\n")
    end(run, "failed")
    run.prepare()
    assert list(run.outputs.iterdir()) == []
    assert run.events.read_text() == ""
    assert (run.logs / "train.log").read_text() == "first\n"
    assert not run.summary.exists()


def test_latest_is_updated_and_never_replaces_a_folder(tmp_path: Path) -> None:
    first, _ = open_run(tmp_path, LOCAL)
    second, _ = open_run(tmp_path, OTHER)
    for run in (first, second):
        point_latest_at(run)
        assert (tmp_path / "latest").resolve() == run.path
        assert not (tmp_path / "latest").readlink().is_absolute()
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").mkdir()
    point_latest_at(first)
    assert not (tmp_path / "latest").is_symlink()


def test_only_one_process_can_hold_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicur_pipelines.run_folder._PATIENCE_SECONDS", 0.2)
    run, _ = open_run(tmp_path, LOCAL)
    with run.held(), pytest.raises(VicurError, match="another process"), run.held():
        pass
    with run.held():
        pass
