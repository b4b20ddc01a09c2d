"""The page about a prepared dataset, as an artifact of a pipeline step."""

from __future__ import annotations

import html
import logging
from pathlib import Path

from vicur.data.dataset import read_manifest
from vicur.data.profile import profile_of, render_profile
from vicur.errors import VicurError
from vicur.steps.stage_step import Artifact

log = logging.getLogger(__name__)


def write_dataset_page(dataset: Artifact, page: Artifact) -> None:
    """Write the profile of a dataset. It is not part of the dataset, whose hash covers every file.

    A page that cannot be made says why: the dataset is complete, and must not be prepared again for it.
    """
    folder = Path(dataset.path)
    try:
        title = str(read_manifest(folder).source.get("type", "dataset"))
        text = render_profile(profile_of(folder), title)
    except VicurError as error:
        log.warning("The dataset has no profile: %s", error)
        text = (
            f"<!doctype html><meta charset=utf-8><title>Profile</title><p>No profile: {html.escape(str(error))}</p>\n"
        )
    Path(page.path).write_text(text, encoding="utf-8")
