"""DVC's command line in temporary repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def run_dvc(folder: Path, *arguments: str) -> str:
    """Run DVC in ``folder`` and return its output."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_GLOBAL_CONFIG_DIR": str(folder / ".global")}
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def repository_of(folder: Path, data: Path) -> Path:
    """Create a DVC repository with this repository's settings and a copy of a dataset."""
    folder.mkdir(exist_ok=True)
    shutil.copytree(data, folder / "data")
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text((REPOSITORY / ".dvc" / "config").read_text() + "    no_scm = true\n")
    shutil.copy(REPOSITORY / ".dvcignore", folder)
    return folder


def with_remote(repository: Path, **settings: str) -> None:
    """Add a remote to a repository."""
    with (repository / ".dvc" / "config").open("a") as config:
        config.write("    remote = store\n['remote \"store\"']\n")
        config.writelines(f"    {name} = {value}\n" for name, value in settings.items())
