"""The script images/build, run with a fake container client that records its arguments and the build context."""

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
printf '%s\\n' "$@" > "$RECORD/arguments"
for context; do :; done
(cd "$context" && find . -type f | sort) > "$RECORD/files"
cp "$context/README.md" "$RECORD/README.md"
exit 7
"""


@dataclass(frozen=True)
class Clone:
    """A clone of the repository and the fake client in one folder."""

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
            command, env={**os.environ, "RECORD": str(self.folder)}, capture_output=True, text=True, timeout=60
        )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Clone:
    subprocess.run(["git", "clone", "--quiet", str(repository), str(tmp_path / "clone")], check=True)
    (tmp_path / "client").write_text(CLIENT)
    (tmp_path / "client").chmod(0o755)
    return Clone(tmp_path)


def test_the_build_context_contains_only_committed_files(clone):
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


def test_the_client_gets_the_flavor_the_base_and_the_revision(clone):
    done = clone.build("gpu", "--base", BASE, "--network", "none")
    assert done.returncode == 7, "the exit code of the client"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone.folder / "clone", capture_output=True, text=True)
    arguments = clone.arguments
    assert arguments[0] == "build"
    assert arguments[arguments.index("--tag") + 1] == f"vicur-python-gpu:{version('vicur')}"
    assert arguments[arguments.index("--network") + 1] == "none"
    assert {f"BASE={BASE}", "FLAVOR=gpu", f"REVISION={commit.stdout.strip()}"} <= set(arguments)
    # The Containerfile has defaults for these.
    assert not [word for word in arguments if word.startswith(("INDEX_URL", "CA_BUNDLE", "OFFLINE", "EXTRAS"))]


def test_the_decoder_of_videos_is_added_on_request(clone):
    clone.build("cpu", "--base", BASE, "--video")
    assert "EXTRAS=video" in clone.arguments


def test_wheels_and_certificates_are_added_to_the_build_context_only(clone):
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
    ("arguments", "message"),
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
def test_options_that_would_fail_late_or_leak_credentials_are_rejected(clone, arguments, message):
    done = clone.build("cpu", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "secret" not in done.stderr
    assert not (clone.folder / "arguments").exists()


def test_an_unreadable_wheel_is_reported(clone):
    house = clone.folder / "house"
    house.mkdir()
    (house / "torch-1-py3-none-any.whl").symlink_to(clone.folder / "gone.whl")
    done = clone.build("cpu", "--base", BASE, "--wheelhouse", str(house))
    assert done.returncode == 2
    assert "torch-1-py3-none-any.whl cannot be copied (No such file or directory)" in done.stderr
    assert not (clone.folder / "arguments").exists()


def test_ctrl_c_exits_without_a_traceback(clone):
    (clone.folder / "client").write_text("#!/bin/sh\nkill -INT $PPID\nexec sleep 5\n")
    command = [str(clone.folder / "clone" / "images" / "build"), "cpu", "--base", BASE]
    done = subprocess.run(
        # Background processes of a shell script ignore SIGINT, and the child would inherit that.
        [*command, "--engine", str(clone.folder / "client")],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_a_folder_without_git_history_is_rejected(clone):
    (clone.folder / "clone" / ".git").rename(clone.folder / "git")
    done = clone.build("cpu", "--base", BASE)
    assert done.returncode == 2
    assert "Build from a clone" in done.stderr
