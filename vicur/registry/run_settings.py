"""The settings that a student was made with, for the record of its version.

The registration gets those of its run, but what the stages wrote takes precedence: a student may be registered by hand, with another
configuration than it was trained with. A section that contradicts what its stage wrote is left out, because its settings are not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from vicur.config.base import SHIPPED, model_folder
from vicur.config.data import DigitScenesConfig, SourceConfig
from vicur.config.run import RunConfig
from vicur.cues.audit import Audit
from vicur.data.schema import Manifest
from vicur.errors import VicurError
from vicur.registry.candidate import Candidate
from vicur.storage.folders import tree_sha256

# A training has them from its method and from other sections.
_NOT_IN_TRAINING = {"method", "prompts", "per_method"}


def run_settings(run: str, candidate: Candidate, manifest: Manifest, audit: Audit) -> dict[str, Any]:
    """Return the sections ``data``, ``cues``, ``base``, ``training``, ``evaluation`` and ``comparison``, with ``methods`` and ``seed``.

    Args:
        run: sections of the configuration of the registration, as YAML; empty if they are not known.
        manifest: that of the dataset that the student was trained with.
        audit: that of its cues.
    """
    record, comparison = candidate.record, candidate.comparison
    settings: dict[str, Any] = {"methods": [record.method], "seed": record.seed}
    training = {name: value for name, value in record.training.items() if name not in _NOT_IN_TRAINING}
    if training:
        settings["training"] = training
    known = _configuration(settings, run) if run else None
    found = {
        "data": _data(known, candidate, manifest),
        "cues": _cues(known, audit),
        "base": _base(known, record.parent),
        "evaluation": _evaluation(known, candidate),
        "comparison": {"resamples": comparison.resamples, "confidence": comparison.confidence},
    }
    return settings | {name: section for name, section in found.items() if section is not None}


def _configuration(recorded: Mapping[str, Any], run: str) -> RunConfig | None:
    try:
        return RunConfig.model_validate({**recorded, **yaml.safe_load(run)})
    except (ValidationError, VicurError, yaml.YAMLError, TypeError):
        return None


def _written(known: RunConfig, section: str) -> dict[str, Any]:
    written: dict[str, Any] = known.model_dump(mode="json", include={section})[section]
    return written


def _data(known: RunConfig | None, candidate: Candidate, manifest: Manifest) -> dict[str, Any] | None:
    if known is not None and _prepared(known.data, candidate.lineage.dataset, manifest):
        return {**_written(known, "data"), **_prompts(candidate)}
    return {**manifest.source, **_prompts(candidate)} if _is_scenes(manifest) else None


def _prompts(candidate: Candidate) -> dict[str, Any]:
    evaluated, trained = candidate.evaluation.metrics.prompts, candidate.record.training.get("prompts", {})
    return {
        "system_prompt": evaluated.system,
        "choices_template": evaluated.choices_template,
        # Each stage records the budgets of its own prompts.
        "pixels": {**trained.get("pixels", {}), **evaluated.pixels.model_dump(mode="json")},
    }


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


def _cues(known: RunConfig | None, audit: Audit) -> dict[str, Any] | None:
    if known is not None and known.cues.provider.type == audit.provider:
        return _written(known, "cues")
    # An endpoint has an address and a model.
    return {"provider": {"type": audit.provider}} if audit.provider != "endpoint" else None


def _base(known: RunConfig | None, sha256: str) -> dict[str, Any] | None:
    shipped = next((name for name in SHIPPED if tree_sha256(model_folder(name)) == sha256), None)
    if shipped is not None:
        return {"path": shipped}
    # One at an address is taken as said: only models that ship with this package are here for certain, and small.
    return {"path": known.base.path} if known is not None and known.base.path not in SHIPPED else None


def _evaluation(known: RunConfig | None, candidate: Candidate) -> dict[str, Any]:
    decoding = candidate.evaluation.metrics.decoding
    if known is not None and known.evaluation.sampling.model_dump(mode="json") == decoding:
        return _written(known, "evaluation")
    return {"decoding": {"type": "sampled", "sampling": decoding}}
