"""The settings that a student was made with, for the record of its version.

The registration gets the settings of its run, but what the stages wrote takes precedence: a student may be registered by hand, with another
configuration than it was trained with. A section that contradicts what its stage wrote is left out, because its value is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from vicur.config.base import SHIPPED, model_folder
from vicur.config.data import DigitScenesConfig, SourceConfig
from vicur.config.run import RunConfig
from vicur.config.training import TrainConfig
from vicur.cues.audit import Audit
from vicur.data.schema import Manifest
from vicur.errors import VicurError
from vicur.registry.candidate import Candidate
from vicur.storage.folders import tree_sha256

# A training has them from its method and from other sections.
_NOT_IN_TRAINING = {"method", "prompts", "per_method"}


def run_settings(run: Mapping[str, Any], candidate: Candidate, manifest: Manifest, audit: Audit) -> dict[str, Any]:
    """Return the sections ``data``, ``cues``, ``base``, ``training``, ``evaluation`` and ``comparison``, with ``methods`` and ``seed``.

    Args:
        run: settings of the run of the registration; empty if they are not known.
        manifest: that of the dataset that the student was trained with.
        audit: that of its cues.
    """
    record, metrics, comparison = candidate.record, candidate.evaluation.metrics, candidate.comparison
    known = _config(run)
    as_run = None if known is None else known.model_dump(mode="json")
    settings: dict[str, Any] = {"methods": [record.method], "seed": record.seed}
    settings |= _training(record.training)
    settings["comparison"] = {"resamples": comparison.resamples, "confidence": comparison.confidence}
    if known is not None and known.evaluation.sampling.model_dump(mode="json") == metrics.decoding:
        assert as_run is not None
        settings["evaluation"] = as_run["evaluation"]
    else:
        settings["evaluation"] = {"decoding": {"type": "sampled", "sampling": metrics.decoding}}
    if data := _data(known, candidate, manifest):
        settings["data"] = data
    if as_run is not None and known is not None and known.cues.provider.type == audit.provider:
        settings["cues"] = as_run["cues"]
    elif audit.provider != "endpoint":
        settings["cues"] = {"provider": {"type": audit.provider}}
    if known is not None and _trained_with(known, candidate) and _is_base(known.base.path, record.parent):
        settings["base"] = {"path": known.base.path}
    elif tiny := next((name for name in SHIPPED if _is_base(name, record.parent)), None):
        settings["base"] = {"path": tiny}
    return settings


def _config(run: Mapping[str, Any]) -> RunConfig | None:
    try:
        return RunConfig.model_validate(dict(run)) if run else None
    except (ValidationError, VicurError):
        return None


def _training(recorded: Mapping[str, Any]) -> dict[str, Any]:
    training = {name: value for name, value in recorded.items() if name not in _NOT_IN_TRAINING}
    return {"training": training} if training else {}


def _data(known: RunConfig | None, candidate: Candidate, manifest: Manifest) -> dict[str, Any] | None:
    if known is not None and _prepared(known.data, candidate.lineage.dataset, manifest):
        return known.data.model_dump(mode="json")
    if not _is_scenes(manifest):
        return None
    prompts = candidate.evaluation.metrics.prompts
    shaped = {"system_prompt": prompts.system, "choices_template": prompts.choices_template}
    return {**manifest.source, **shaped, "pixels": prompts.pixels.model_dump(mode="json")}


def _prepared(config: SourceConfig, dataset: str, manifest: Manifest) -> bool:
    """Return whether the dataset may be what a section describes, as far as its manifest says."""
    if isinstance(config, DigitScenesConfig):
        return config.identity() == manifest.source
    # A dataset that was prepared elsewhere, and found by its hash.
    if getattr(config, "hash", "") == dataset:
        return True
    settings = config.model_dump(mode="json")
    # These may say `auto`, and the manifest what that was.
    compared = manifest.source.keys() & settings.keys() - {"type", "format", "answer_index"}
    return all(settings[name] == manifest.source[name] for name in compared) and not _is_scenes(manifest)


def _is_scenes(manifest: Manifest) -> bool:
    return manifest.source.get("type") == "digit_scenes"


def _trained_with(known: RunConfig, candidate: Candidate) -> bool:
    record = candidate.record
    if record.method not in known.methods or record.seed != known.seed:
        return False
    try:
        trained = TrainConfig.model_validate({**record.training, "method": record.method})
    except (ValidationError, VicurError):
        return False
    return trained.identity() == known.training.for_method(record.method).filled_in().identity()


def _is_base(path: str, sha256: str) -> bool:
    # Only models that ship with this package are small, and here for certain. A base that is named by an address is taken as said.
    return path not in SHIPPED or tree_sha256(model_folder(path)) == sha256
