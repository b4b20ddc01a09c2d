"""``vicur clean`` shows disk usage and removes what its options name, and nothing else."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from vicur.cli import app
from vicur.commands.disk_usage import Kind, remove, survey


def write(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    kept = write(tmp_path / ".vicur/cache/train/k1/output/model", 4000)
    write(tmp_path / ".vicur/cache/train/k2.work/checkpoint", 3000)
    write(tmp_path / ".vicur/scratch/register/k3.work/half", 10)
    for number, name in enumerate(("local-1", "local-2")):
        record = write(tmp_path / "runs" / name / "run.json", 100)
        os.utime(record, (number, number))
        (tmp_path / "runs" / name / "pipeline").mkdir()
        os.link(kept, tmp_path / "runs" / name / "pipeline" / "model")
    (tmp_path / "runs" / "latest").symlink_to("local-2")
    write(tmp_path / "runs" / "notes" / "mine.txt", 5)
    write(tmp_path / "mlflow" / "mlflow.db", 2000)
    write(tmp_path / "data" / "manifest.json", 700)
    return tmp_path


def sizes(project: Path) -> dict[str, tuple[Kind, int]]:
    return {str(item.path.relative_to(project)): (item.kind, item.size) for item in survey(project)}


def clean(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["clean", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_shared_bytes_are_counted_once(project: Path) -> None:
    assert sizes(project) == {
        ".vicur/cache/train/k1": ("result", 4000),
        ".vicur/cache/train/k2.work": ("checkpoints", 3000),
        ".vicur/scratch/register/k3.work": ("checkpoints", 10),
        "runs/local-1": ("run", 100),
        "runs/local-2": ("run", 100),
        "mlflow": ("tracking", 2000),
    }


def test_without_options_nothing_is_removed(project: Path) -> None:
    before = sizes(project)
    output = clean()
    assert "4.0 kB" in output
    assert "runs/local-1" in output
    assert sizes(project) == before


def test_a_file_frees_space_when_its_last_name_is_removed(project: Path) -> None:
    items = {str(item.path.relative_to(project)): item for item in survey(project)}
    assert remove([items[".vicur/cache/train/k1"]]) == 0
    assert remove([items["runs/local-1"], items["runs/local-2"]]) == 4200


def test_keep_removes_all_runs_but_the_newest(project: Path) -> None:
    clean("--keep", "1", "--yes")
    assert {name for name, (kind, _) in sizes(project).items() if kind == "run"} == {"runs/local-2"}
    assert (project / "runs" / "latest").exists()
    clean("--keep", "0", "--yes")
    assert not (project / "runs" / "latest").is_symlink()
    assert (project / "runs" / "notes" / "mine.txt").exists()


def test_all_keeps_tracking_the_dataset_and_files_of_the_user(project: Path) -> None:
    clean("--all", "--yes")
    assert sizes(project).keys() == {"mlflow"}
    assert (project / "data" / "manifest.json").exists()
    assert (project / "runs" / "notes" / "mine.txt").exists()
    clean("--mlflow", "--yes")
    assert sizes(project) == {}


@pytest.mark.parametrize(
    ("option", "kind"), [("--runs", "run"), ("--cache", "result"), ("--checkpoints", "checkpoints")]
)
def test_each_option_removes_its_kind_only(project: Path, option: str, kind: str) -> None:
    before = sizes(project)
    clean(option, "--yes")
    assert sizes(project).keys() == {name for name, (each, _) in before.items() if each != kind}


def test_nothing_is_removed_by_a_dry_run_or_without_confirmation(project: Path) -> None:
    before = sizes(project)
    assert "Nothing was removed" in clean("--all", "--dry-run")
    assert CliRunner().invoke(app, ["clean", "--all"], input="n\n").exit_code == 1
    assert sizes(project) == before


def test_items_in_use_are_kept(project: Path) -> None:
    lock = write(project / "runs" / "local-1" / ".lock", 0)
    with lock.open() as stream, FileLock(project / ".vicur/cache/train/k2.lock"):
        fcntl.flock(stream, fcntl.LOCK_EX)
        output = clean("--all", "--mlflow", "--yes")
    assert "in use, not removed" in output
    assert sizes(project).keys() == {"runs/local-1", ".vicur/cache/train/k2.work", "mlflow"}


def test_a_partial_result_is_removed_unless_it_is_being_written(project: Path) -> None:
    write(project / ".vicur/cache/train/.k4.host-1.partial/output/model", 50)
    write(project / ".vicur/cache/train/.k5.host-2.partial/output/model", 60)
    with FileLock(project / ".vicur/cache/train/k4.lock"):
        output = clean("--cache", "--yes")
        assert "in use, not removed" in output
        assert (project / ".vicur/cache/train/.k4.host-1.partial/output/model").exists()
        assert not (project / ".vicur/cache/train/.k5.host-2.partial").exists()
    assert {name for name, (kind, _) in sizes(project).items() if kind == "result"} == {
        ".vicur/cache/train/.k4.host-1.partial"
    }


def test_shared_cues_are_removed_with_the_cached_results(project: Path) -> None:
    kept = write(project / ".vicur/cache/extract/shared/endpoint-cues.jsonl", 50)
    assert sizes(project)[".vicur/cache/extract/shared"] == ("result", 50)
    clean("--cache", "--yes")
    assert not kept.exists()


def test_an_item_that_comes_into_use_before_the_confirmation_is_kept(project: Path) -> None:
    (item,) = (item for item in survey(project) if item.kind == "result")
    with FileLock(project / ".vicur/cache/train/k1.lock"):
        assert remove([item]) == 0
    assert item.path.exists()


def test_an_item_that_its_writer_has_moved_is_skipped(project: Path) -> None:
    partial = write(project / ".vicur/cache/train/.k4.host-1.partial/entry.json", 50).parent
    items = survey(project)
    partial.rename(project / ".vicur/cache/train/k4")
    assert remove([item for item in items if item.path == partial]) == 0
    assert (project / ".vicur/cache/train/k4/entry.json").exists()


def test_checkpoints_in_a_folder_outside_the_cache_are_kept(project: Path) -> None:
    weights = write(project / "kept-here" / "step-000040" / "model.safetensors", 30)
    clean("--all", "--yes")
    assert weights.exists()


def test_links_are_not_followed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere / "precious" / "run.json", 10)
    (project / "runs" / "linked").symlink_to(elsewhere / "precious")
    (project / "runs" / "local-1" / "linked").symlink_to(elsewhere / "precious")
    (project / ".vicur" / "cache" / "linked").symlink_to(elsewhere)
    clean("--all", "--yes")
    assert (elsewhere / "precious" / "run.json").exists()


def test_an_empty_project_has_nothing_to_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Nothing to remove" in clean("--all", "--yes")
