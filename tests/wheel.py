"""The wheel of this checkout, and an environment that holds it and its dependencies but no clone of the repository."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {"vicur": "vicur", "components": "vicur_components", "pipelines": "vicur_pipelines"}
"""The packages by the folder that holds their sources."""


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of the files that git tracks, so that nothing else of this checkout can end up in it."""
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (
            name.split("/")[0] in {*FOLDERS, "k8s", "setup.py", "pyproject.toml", "README.md", "LICENSE"}
            and (ROOT / name).is_file()
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-c", "from setuptools import build_meta; print(build_meta.build_wheel('..'))"]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    return folder / built


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel into a new environment and return its Python.

    The dependencies come from the environment of the tests: installing them again would take minutes. A ``.pth`` file adds its
    packages but does not process its own ``.pth`` files, so the editable install of the clone stays invisible.
    """
    venv.create(folder)
    python = folder / "bin" / "python"
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--offline",
        "--python",
        python,
        wheel,
    ]
    subprocess.run(install, check=True)
    return python
