"""``make component`` writes a component that compiles and a test that passes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from vicur_components.new import create

from vicur.errors import VicurError

ROOT = Path(__file__).parents[2]
COMPILE = """
from kfp import compiler
from vicur_components.profile_data.component import profile_data
compiler.Compiler().compile(profile_data, "package.yaml")
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the components and of the fixtures of their tests."""
    ignored = shutil.ignore_patterns("__pycache__", "test_*")
    shutil.copytree(ROOT / "components", tmp_path / "components", ignore=ignored)
    shutil.copytree(ROOT / "tests" / "components", tmp_path / "tests" / "components", ignore=ignored)
    (tmp_path / "tests" / "__init__.py").touch()
    # Packages on PYTHONPATH are found before those of the environment.
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "vicur_components").symlink_to(tmp_path / "components")
    return tmp_path


def run(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(clone / "path"), str(clone)))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=120)


def test_a_new_component_compiles_and_its_test_passes(clone: Path) -> None:
    made = run(clone, "-m", "vicur_components.new", "profile_data")
    assert made.returncode == 0, made.stderr
    assert "components/profile_data/component.py" in made.stdout
    assert "vicur/stage/table.py" in made.stdout
    compiled = run(clone, "-c", COMPILE)
    assert compiled.returncode == 0, compiled.stderr
    assert "comp-profile-data" in (clone / "package.yaml").read_text()
    tested = run(clone, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/components")
    assert "1 passed" in tested.stdout, tested.stdout + tested.stderr


@pytest.mark.parametrize("name", ["", "Profile", "profile-data", "../profile", "class", "1st"])
def test_an_invalid_name_is_refused(clone: Path, name: str) -> None:
    with pytest.raises(VicurError, match="not a valid name"):
        create(clone, name)


@pytest.mark.parametrize("name", ["train", "image"])
def test_a_name_in_use_is_refused_and_nothing_is_written(clone: Path, name: str) -> None:
    before = {path: path.read_bytes() for path in clone.rglob("*.py")}
    with pytest.raises(VicurError, match="exists"):
        create(clone, name)
    assert {path: path.read_bytes() for path in clone.rglob("*.py")} == before
