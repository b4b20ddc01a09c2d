"""The wheel holds every package and every data file of the repository."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"vicur": "vicur", "components": "vicur_components", "pipelines": "vicur_pipelines"}


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (
            name.split("/")[0] in {*FOLDERS, "setup.py", "pyproject.toml", "README.md", "LICENSE"}
            and (ROOT / name).is_file()
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-c", "from setuptools import build_meta; print(build_meta.build_wheel('.'))"]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    return set(zipfile.ZipFile(source / built).namelist())


@pytest.mark.parametrize(("folder", "package"), FOLDERS.items())
def test_the_wheel_holds_every_package(names, folder, package):
    found = [p.relative_to(ROOT / folder).as_posix() for p in (ROOT / folder).rglob("*.py")]
    assert {f"{package}/{name}" for name in found} <= names


def test_the_wheel_holds_every_data_file(names):
    files = [p for p in (ROOT / "vicur").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert {p.relative_to(ROOT).as_posix() for p in files} <= names
