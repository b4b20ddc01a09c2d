"""The record of a student's training in its evaluation, so that the comparison needs no students, which are large."""

from __future__ import annotations

import shutil
from pathlib import Path

_FOLDER = "training"
_FILES = ("vicur.json", "metrics.jsonl")


def copy_training_record(student: Path, evaluation: Path) -> None:
    """Copy settings and curves of a training into an evaluation. A model that this project did not train has none."""
    for name in _FILES:
        if (student / name).is_file():
            (evaluation / _FOLDER).mkdir(exist_ok=True)
            shutil.copyfile(student / name, evaluation / _FOLDER / name)


def training_record(evaluation: Path) -> Path | None:
    """Return the folder with the record of the training, or ``None`` if the evaluation has none."""
    folder = evaluation / _FOLDER
    return folder if folder.is_dir() else None
