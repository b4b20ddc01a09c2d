"""Model weights: fetched once from where they are published, verified, and installed where every step can read them."""

from vicur.weights.install import Installed, install
from vicur.weights.record import RECORD, Record, check
from vicur.weights.sources import Listing, ModelSource, model_source, source_at
from vicur.weights.staging import (
    folder_name,
    is_staged,
    newest,
    pinned,
    pinned_path,
    stage_models,
    stage_teachers,
    staged,
)

__all__ = [
    "RECORD",
    "Installed",
    "Listing",
    "ModelSource",
    "Record",
    "check",
    "folder_name",
    "install",
    "is_staged",
    "model_source",
    "newest",
    "pinned",
    "pinned_path",
    "source_at",
    "stage_models",
    "stage_teachers",
    "staged",
]
