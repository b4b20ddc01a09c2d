"""The wheel holds every module and every data file of the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.wheel import FOLDERS, ROOT, build_wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def names(wheel):
    return set(wheel.namelist())


@pytest.mark.parametrize(("folder", "package"), FOLDERS.items())
def test_the_wheel_holds_every_module(names, folder, package):
    found = [p.relative_to(ROOT / folder).as_posix() for p in (ROOT / folder).rglob("*.py")]
    assert {f"{package}/{name}" for name in found} <= names


def test_the_wheel_holds_every_data_file(names):
    files = [p for p in (ROOT / "vicur").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert {p.relative_to(ROOT).as_posix() for p in files} <= names


def test_the_wheel_holds_the_manifests(names):
    files = [p.relative_to(ROOT / "k8s").as_posix() for p in (ROOT / "k8s").rglob("*") if p.is_file()]
    assert {f"vicur_k8s/{name}" for name in files} <= names


def test_installed_package_finds_its_manifests(wheel, tmp_path):
    wheel.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    code = "from vicur.cluster.install import find_manifests; print(find_manifests())"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "empty",
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == tmp_path / "site" / "vicur_k8s"
