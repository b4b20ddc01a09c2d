"""Helpers of the tests of ``vicur submit``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.pipelines.kfp_server_double import KfpServerDouble

SECRET = "tok-4711"  # noqa: S105 (to search for it in the output)


def run_of(kfp: KfpServerDouble) -> Any:
    (run,) = kfp.runs.values()
    return run


def create_with_kfp(kfp: KfpServerDouble, package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("kfp")), "--endpoint", kfp.endpoint, "run", "submit"]
    command += ["--experiment-name", "vicur", "--run-name", "first", "--package-file", str(package), *arguments]
    environment = {**os.environ, "HOME": str(package.parent)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
