"""Packages of two clones are not used together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vicur.checkout import require_one_checkout

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def other_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose environment is that of this one."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "vicur", folder / "vicur", ignore=shutil.ignore_patterns("tiny", "__pycache__"))
    for name in ("tests/__init__.py", "tests/conftest.py", "tests/moto_s3.py", "tests/core/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    (folder / "tests" / "core" / "test_any.py").write_text("def test_any() -> None:\n    pass\n")
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("command", [("vicur", "--version"), ("pytest", "-q", "-p", "no:cacheprovider", "tests")])
def test_a_mixed_checkout_is_refused(other_clone: Path, command: tuple[str, ...]) -> None:
    refused = run(other_clone, *command)
    assert refused.returncode != 0
    output = " ".join((refused.stdout + refused.stderr).split())
    assert f"vicur comes from {other_clone}, but vicur_components comes from {ROOT}" in output
    assert "Use the environment of this clone" in output


def test_a_single_checkout_shows_its_version() -> None:
    shown = run(ROOT, "vicur", "--version")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("vicur ")


def test_the_library_may_be_installed_without_its_companions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicur.checkout.find_spec", lambda _: None)
    require_one_checkout()
