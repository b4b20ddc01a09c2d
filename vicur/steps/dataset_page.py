"""The page about a prepared dataset, as an artifact of a pipeline step."""

from __future__ import annotations

from pathlib import Path

from vicur.data.dataset import read_manifest
from vicur.data.profile import profile_of, render_profile
from vicur.steps.stage_step import Artifact


def write_dataset_page(dataset: Artifact, page: Artifact) -> None:
    """Write the profile of a dataset. It is not part of the dataset, whose hash covers every file."""
    folder = Path(dataset.path)
    title = str(read_manifest(folder).source.get("type", "dataset"))
    Path(page.path).write_text(render_profile(profile_of(folder), title), encoding="utf-8")
