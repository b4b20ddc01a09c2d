"""Let processes that this one starts import the package from where this one has it."""

from __future__ import annotations

import os
from pathlib import Path

import vicur


def with_package() -> dict[str, str]:
    """Return the environment for a process that runs a module of this package.

    A served model has the package in its own folder, which only this process has on its path.
    """
    root = str(Path(vicur.__file__).parents[1])
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != root]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, *others])}
