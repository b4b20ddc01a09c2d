"""Local runs of the pipelines with fake stages, and ``vicur submit`` with a double of the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from kfp.dsl import pipeline_task
from vicur_pipelines.package import write_package

from tests.cli.calling import Command, Result, caller
from tests.pipelines.kfp_server_double import KfpServerDouble, serving

FAKES = Path(__file__).parent / "fakes"


def _callers() -> Iterator[tuple[FrameType, str, int, str]]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame, frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        frame = frame.f_back


# kfp calls inspect.stack() for the name of its caller. In a worker of pytest-xdist, inspect then searches all loaded modules for frames
# that have no file, which took most of the time of compiling a package.
pipeline_task.inspect = SimpleNamespace(stack=lambda: list(_callers()))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Project:
    """A folder to run in, with fake stages."""

    folder: Path

    def environment(self, trouble: str = "") -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(FAKES),
            "FAKE_CALLS": str(self.folder / "calls"),
            "FAKE_TROUBLE": trouble,
        }

    def command(self, *arguments: str, command: Sequence[str] = ("run",)) -> list[str]:
        return [
            sys.executable,
            "-c",
            "from vicur.cli import main; main()",
            *command,
            "--set",
            "base.path=base",
            *arguments,
        ]

    def run(
        self, *arguments: str, trouble: str = "", command: Sequence[str] = ("run",)
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, command=command),
            cwd=self.folder,
            env=self.environment(trouble),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, *arguments: str, trouble: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(trouble),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def latest(self) -> Path:
        return self.folder / "runs" / "latest"

    def summary(self) -> dict[str, Any]:
        return dict(json.loads((self.latest / "summary.json").read_text()))

    def status(self) -> dict[str, str]:
        return {stage["name"]: stage["status"] for stage in self.summary()["stages"]}

    def calls(self) -> dict[str, int]:
        files = (self.folder / "calls").iterdir()
        return {path.name: path.stat().st_size for path in files if path.name != "finish"}

    def outcomes(self) -> list[str]:
        return (self.folder / "calls" / "finish").read_text().splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "calls").mkdir()
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    return Project(tmp_path)


@pytest.fixture
def kfp() -> Iterator[KfpServerDouble]:
    with serving(KfpServerDouble()) as double:
        yield double


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("package") / "package.yaml"
    write_package(file, None, None, versioned=False)
    return file


@pytest.fixture
def vicur(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capfd)


@pytest.fixture
def hidden_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the cluster that the developer's own kubeconfig names."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))


@pytest.fixture
def submit(
    vicur: Command, kfp: KfpServerDouble, package: Path, hidden_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    del hidden_cluster
    for name in ("KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_EXISTING_TOKEN", "KFP_SSL_CA_CERT"):
        monkeypatch.delenv(name, raising=False)

    def command(*arguments: str, start: bool = True, endpoint: str | None = None) -> Result:
        what = ("--package", str(package)) if start else ()
        return vicur("submit", *what, "--endpoint", endpoint or kfp.endpoint, "--every", "0.1", *arguments)

    return command
