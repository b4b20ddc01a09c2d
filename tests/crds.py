"""Finds the custom resource definitions that manifests are checked against. The product itself needs none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.absent import absent

FOLDER = Path(os.environ.get("VICUR_CRDS", Path(__file__).parents[2] / "shared" / "crds"))
"""Definitions as their projects publish them: ``VICUR_CRDS``, else the folder ``shared/crds`` beside the repository. Those of a cluster:
``kubectl get crd -o yaml``, one definition or list a file."""


def crd_files() -> list[Path]:
    """The files of definitions. Without any, the test that asks is skipped, and fails where it must not be (``CI``)."""
    found = sorted(FOLDER.glob("*.yaml"))
    if not found:
        absent(f"no custom resource definitions in {FOLDER}: set VICUR_CRDS to a folder that holds some")
    return found


def crd_file(name: str) -> Path:
    """One of them; a folder that holds others but not this one fails the test that asks."""
    found = [file for file in crd_files() if file.name == name]
    if not found:
        pytest.fail(f"{FOLDER} holds no {name}")
    return found[0]
