"""The script that builds images, with a stand-in for the engine's client that tells what it was given."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32
BASE = f"registry.example.com/python@{DIGEST}"
CLIENT = """#!/bin/sh
printf '%s\\n' "$@" > "$TOLD/arguments"
for context; do :; done
(cd "$context" && find . -type f | sort) > "$TOLD/files"
cp "$context/README.md" "$TOLD/README.md"
exit 7
"""


@dataclass(frozen=True)
class Clone:
    """A clone of the repository, beside a client that tells what it was given."""

    folder: Path

    @property
    def arguments(self) -> list[str]:
        return (self.folder / "arguments").read_text().splitlines()

    @property
    def files(self) -> set[str]:
        return {file.removeprefix("./") for file in (self.folder / "files").read_text().splitlines()}

    def build(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.folder / "clone" / "images" / "build"), *arguments, "--engine", str(self.folder / "client")]
        return subprocess.run(
            command, env={**os.environ, "TOLD": str(self.folder)}, capture_output=True, text=True, timeout=60
        )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("repository") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(place)], check=True)
    return place


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Clone:
    subprocess.run(["git", "clone", "--quiet", str(repository), str(tmp_path / "clone")], check=True)
    (tmp_path / "client").write_text(CLIENT)
    (tmp_path / "client").chmod(0o755)
    return Clone(tmp_path)


def test_what_is_built_is_the_commit_and_not_the_files_beside_it(clone):
    checkout = clone.folder / "clone"
    committed = (checkout / "README.md").read_text()
    (checkout / "README.md").write_text("changed")
    (checkout / ".env").write_text("PASSWORD=1")
    (checkout / "vicur" / "notes.py").write_text("")
    done = clone.build("cpu", "--base", BASE)
    assert "uncommitted" in done.stderr
    assert (clone.folder / "README.md").read_text() == committed
    assert {"images/Containerfile", "constraints-gpu.txt", "vicur/cli.py"} <= clone.files
    assert not {".env", "vicur/notes.py"} & clone.files


def test_the_engine_is_told_flavor_base_and_where_the_code_comes_from(clone):
    done = clone.build("gpu", "--base", BASE, "--network", "none")
    assert done.returncode == 7, "the engine's own exit code"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone.folder / "clone", capture_output=True, text=True)
    told = clone.arguments
    assert told[0] == "build"
    assert told[told.index("--tag") + 1] == f"vicur-python-gpu:{version('vicur')}"
    assert told[told.index("--network") + 1] == "none"
    assert {f"BASE={BASE}", "FLAVOR=gpu", f"REVISION={commit.stdout.strip()}"} <= set(told)
    assert not [word for word in told if word.startswith(("INDEX_URL", "CA_BUNDLE", "OFFLINE"))], (
        "the recipe's defaults"
    )


def test_wheels_and_certificates_reach_the_build_alone(clone):
    house = clone.folder / "house"
    house.mkdir()
    (house / "torch-1-py3-none-any.whl").write_bytes(b"wheel")
    (house / "notes.txt").write_text("")
    (certificates := clone.folder / "mine.pem").write_text("certificate")
    clone.build("cpu", "--base", DIGEST, "--wheelhouse", str(house), "--offline", "--ca-bundle", str(certificates))
    inputs = {file for file in clone.files if file.startswith("images/inputs/")}
    assert inputs == {f"images/inputs/{name}" for name in ("README.md", "ca.pem", "torch-1-py3-none-any.whl")}
    assert {"OFFLINE=1", "CA_BUNDLE=/inputs/ca.pem", f"BASE={DIGEST}"} <= set(clone.arguments)
    left = subprocess.run(["git", "status", "--short"], cwd=clone.folder / "clone", capture_output=True, text=True)
    assert left.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--base", "python:3.11-slim"], "Use a digest"),
        (["--base", "python:latest"], "Use a digest"),
        (["--base", BASE, "--index-url", "https://me:secret@index.example.com/simple"], "--wheelhouse and --offline"),
        (
            ["--base", BASE, "--extra-index-url", "https://index.example.com/?token=secret"],
            "--wheelhouse and --offline",
        ),
        (["--base", BASE, "--offline"], "requires --wheelhouse"),
        (["--base", BASE, "--wheelhouse", "nowhere"], "contains no wheels"),
        (["--base", BASE, "--ca-bundle", "nowhere.pem"], "is not a file"),
    ],
)
def test_what_would_fail_late_or_leave_a_trace_is_refused_with_a_remedy(clone, arguments, said):
    done = clone.build("cpu", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert not (clone.folder / "arguments").exists()


def test_a_wheel_that_cannot_be_read_is_named(clone):
    house = clone.folder / "house"
    house.mkdir()
    (house / "torch-1-py3-none-any.whl").symlink_to(clone.folder / "gone.whl")
    done = clone.build("cpu", "--base", BASE, "--wheelhouse", str(house))
    assert done.returncode == 2
    assert "torch-1-py3-none-any.whl cannot be copied (No such file or directory)" in done.stderr
    assert not (clone.folder / "arguments").exists()


def test_ctrl_c_ends_it_without_a_traceback(clone):
    (clone.folder / "client").write_text("#!/bin/sh\nkill -INT $PPID\nsleep 5\n")
    command = [str(clone.folder / "clone" / "images" / "build"), "cpu", "--base", BASE]
    done = subprocess.run(
        # A process that ignores the signal, as those in the background of a script do, would hand that on.
        [*command, "--engine", str(clone.folder / "client")],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_a_folder_without_history_is_refused(clone):
    (clone.folder / "clone" / ".git").rename(clone.folder / "git")
    done = clone.build("cpu", "--base", BASE)
    assert done.returncode == 2
    assert "Build from a clone" in done.stderr
