"""Keys of what the steps of a run make, for the platform's cache.

Kubeflow Pipelines knows a step by its component, image, command and parameters. It does not look into what a parameter points at: a folder
of weights that was replaced, another dataset under the same address. So each step has a parameter of its own that says what its inputs
hold, chained from step to step: a change of the cues changes the key of the student that is taught with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vicur.config.data import DataConfig, FolderConfig, RemoteConfig
from vicur.config.run import RunConfig
from vicur.data.remote import written_listing
from vicur.storage.folders import files_below

KEYS = ("dataset", "cues", "base", "baseline", "student")
"""What has a key: dataset, cues, base model, the base's evaluation, and the students with all that is made of them."""


def step_keys(config: RunConfig, codes: Mapping[str, str]) -> dict[str, str]:
    """Keys by name, as in ``KEYS``.

    Args:
        config: the run's whole configuration.
        codes: code version of each stage.
    """
    seed = config.seed
    dataset = _key(config.data.identity(), _dataset(config.data), codes["prepare"], seed)
    cues = _key(dataset, config.cues.identity(), codes["extract"], seed)
    base = _key(config.base.identity(), _content(config.base.folder), codes["base"], seed)
    baseline = _key(dataset, base, config.evaluation.identity(), codes["evaluate"], seed)
    trainings = [config.training.for_method(name) for name in config.methods]
    teachers = [
        _content(training.effective.teacher.folder)
        for training in trainings
        if training.effective.teacher.type == "checkpoint"
    ]
    taught = [training.identity() for training in trainings]
    student = _key(dataset, cues, base, taught, teachers, baseline, config.comparison.identity(), codes["train"])
    return {"dataset": dataset, "cues": cues, "base": base, "baseline": baseline, "student": student}


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _dataset(data: DataConfig) -> Any:
    """What lies where the dataset is; a hash or a drawn dataset is in the settings already."""
    if isinstance(data, RemoteConfig):
        return written_listing(data.uri).read_text(encoding="utf-8")
    return _content(data.path) if isinstance(data, FolderConfig) else None


def _content(folder: Path | None) -> list[list[Any]] | None:
    """Names, sizes and times of the files in a folder: weights of many gigabytes are not read for a key. ``None`` for one that only the
    steps see.
    """
    if folder is None or not folder.is_dir():
        return None
    stats = {path: path.stat() for path in files_below(folder)}
    return [
        [path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns] for path, stat in sorted(stats.items())
    ]
