"""Finds the custom resource definitions that manifests are checked against. The product itself needs none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("VICUR_CRDS", Path(__file__).parents[2] / "shared" / "crds"))
"""Definitions as their projects publish them: ``VICUR_CRDS``, else the folder ``shared/crds`` beside the repository. Those of a cluster:
``kubectl get crd -o yaml``, one definition or list a file."""


def crd_files() -> list[Path]:
    """The files of definitions. Without any, the test that asks is skipped, and fails where it must not be (``CI``)."""
    found = sorted(FOLDER.glob("*.yaml"))
    if not found:
        text = f"no custom resource definitions in {FOLDER}: set VICUR_CRDS to a folder that holds some"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    return found
