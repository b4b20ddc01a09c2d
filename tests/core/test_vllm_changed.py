"""CI runs the tests of vLLM where what they depend on has changed since the last landed commit (tests/vllm/changed)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "vllm" / "changed"


def _git(repository: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True)


def _commit(repository: Path, path: str) -> None:
    (repository / path).parent.mkdir(parents=True, exist_ok=True)
    with (repository / path).open("a") as file:
        file.write("more\n")
    _git(repository, "add", "-A")
    _git(repository, "commit", "-m", path)


def _changed(repository: Path) -> bool:
    environment = {name: value for name, value in os.environ.items() if name != "VICUR_LANDED"}
    return subprocess.run([repository / "tests/vllm/changed"], env=environment, check=False).returncode == 0


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """A main branch with a long history, and a clone of it."""
    origin = tmp_path / "origin"
    (origin / "tests/vllm").mkdir(parents=True)
    _git(tmp_path, "init", "--initial-branch", "main", str(origin))
    shutil.copy(SCRIPT, origin / "tests/vllm/changed")
    for number in range(25):
        _commit(origin, f"docs/{number}")
    return origin


def _clone(origin: Path, *arguments: str) -> Path:
    clone = origin.parent / "clone"
    _git(origin.parent, "clone", *arguments, origin.as_uri(), str(clone))
    return clone


@pytest.mark.parametrize(
    ("path", "matters"),
    [
        ("serving/vicur_vllm/model.py", True),
        ("vicur/modeling/student.py", True),
        ("vicur/training/lora.py", True),
        ("docs/vllm.md", False),
    ],
)
def test_on_a_branch_its_own_commits_count(main: Path, path: str, matters: bool) -> None:
    clone = _clone(main)
    _git(clone, "switch", "-c", "branch")
    _commit(clone, path)
    _commit(clone, "docs/last")
    assert _changed(clone) == matters


def test_what_landed_before_the_branch_does_not_count(main: Path) -> None:
    _commit(main, "vicur/modeling/student.py")
    clone = _clone(main)
    _git(clone, "switch", "-c", "branch")
    _commit(clone, "docs/last")
    assert not _changed(clone)


def test_on_main_the_latest_commits_count(main: Path) -> None:
    _commit(main, "vicur/modeling/student.py")
    _commit(main, "docs/last")
    assert _changed(_clone(main))


def test_on_main_what_is_long_past_does_not_count(main: Path) -> None:
    assert not _changed(_clone(main))


def test_without_history_everything_counts(main: Path) -> None:
    assert _changed(_clone(main, "--depth", "1"))


def test_what_it_looks_at_is_there() -> None:
    """A file that was moved would no longer count."""
    watched = SCRIPT.read_text().partition("watched=(")[2].partition("\n)")[0]
    words = [word for line in watched.splitlines() if not line.strip().startswith("#") for word in line.split()]
    missing = [word for word in words if not list(SCRIPT.parents[2].glob(word))]
    assert (len(words) > 10, missing) == (True, [])
