"""Keys of what the steps of a run make, for the platform's cache.

Kubeflow Pipelines knows a step by its component, image, command and parameters. It does not look into what a parameter points at: a folder
of weights that was replaced, another dataset under the same address. So each step has a parameter of its own that says what its inputs
hold, chained from step to step: a change of the cues changes the key of the student that is taught with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from vicur.config.run import RunConfig
from vicur.data.sources import source_of
from vicur.storage.folders import folder_listing

KEYS = ("dataset", "cues", "base", "baseline", "student")
"""What has a key: dataset, cues, base model, the base's evaluation, and the students with all that is made of them."""


def step_keys(config: RunConfig, codes: Mapping[str, str]) -> dict[str, str]:
    """Keys by name, as in ``KEYS``.

    Args:
        config: the run's whole configuration.
        codes: code version of each stage.
    """
    seed = config.seed
    dataset = _key(config.data.identity(), source_of(config.data).cache_token(config.data), codes["prepare"], seed)
    cues = _key(dataset, config.cues.identity(), codes["extract"], seed)
    base = _key(config.base.identity(), folder_listing(config.base.folder), codes["base"], seed)
    baseline = _key(dataset, base, config.evaluation.identity(), codes["evaluate"], seed)
    trainings = [config.training.for_method(name) for name in config.methods]
    teachers = [
        folder_listing(training.effective.teacher.folder)
        for training in trainings
        if training.effective.teacher.type == "checkpoint"
    ]
    taught = [training.identity() for training in trainings]
    student = _key(dataset, cues, base, taught, teachers, baseline, config.comparison.identity(), codes["train"])
    return {"dataset": dataset, "cues": cues, "base": base, "baseline": baseline, "student": student}


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]
