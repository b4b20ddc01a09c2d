"""Detect a mixed checkout: ``vicur`` from one clone and its companion packages from another."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import vicur
from vicur.errors import VicurError

# They are missing where only the library is installed.
COMPANIONS = ("vicur_components", "vicur_pipelines")


def require_one_checkout() -> None:
    """Raise :class:`VicurError` if the packages of this repository come from different folders."""
    # Python prefers the vicur of the current folder, but finds vicur_pipelines only through the environment, which may be that of another
    # clone. Steps would then run other code than the pipeline was built for.
    root = Path(str(vicur.__file__)).resolve().parents[1]
    for name in COMPANIONS:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            continue
        folder = Path(spec.origin).resolve().parents[1]
        if folder != root:
            raise VicurError(
                f"vicur comes from {root}, but {name} comes from {folder}.",
                remedy="Use the environment of this clone (.venv/bin/vicur, or 'make run' to build it), or change to the other folder.",
            )
