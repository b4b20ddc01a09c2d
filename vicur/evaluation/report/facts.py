"""Tables of data, cues, training and settings, so that the figures of the report can be traced."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vicur.cues.audit import Audit
from vicur.cues.extract import AUDIT_FILE
from vicur.data import dvc_hash, read_manifest
from vicur.evaluation.comparison import Comparison
from vicur.evaluation.report.models import ReportModel
from vicur.wording import percent

_TRAINING = {
    "steps": "Steps",
    "best_step": "Best step",
    "validation_accuracy": "Best validation accuracy",
    "seed": "Seed",
}
_SETTINGS = {
    "batch_size": "Prompts per step",
    "learning_rate": "Learning rate",
    "objective": "Objective",
    "max_grad_norm": "Gradient norm clipped at",
    "trained": "Trained weights",
}
_HASHES = {"parent": "Base, sha256", "dataset": "Dataset, sha256", "cues": "Cues, sha256"}
# Enough to distinguish two hashes at a glance; the whole ones are in vicur.json.
_HASH_DIGITS = 12
_LENGTH = "max_new_tokens"


@dataclass(frozen=True)
class Facts:
    """One group of facts: names and values."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TrainingTable:
    """Training settings and results: one row per setting, one value per student."""

    models: tuple[ReportModel, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def dataset_facts(folder: Path) -> Facts:
    """Describe the source and the hash of the dataset."""
    manifest = read_manifest(folder)
    rows = [("source", str(manifest.source.get("type", "unknown"))), ("DVC hash", dvc_hash(folder).md5)]
    if manifest.seed is not None:
        rows.append(("seed", str(manifest.seed)))
    rows += [(f"{split} examples", f"{count:,}") for split, count in manifest.examples.items()]
    return Facts("Dataset", tuple(rows))


def cue_facts(folder: Path) -> Facts:
    """Describe the provider of the cues and the result of their audit."""
    audit = Audit.model_validate_json((folder / AUDIT_FILE).read_text(encoding="utf-8"))
    # Only the cues of the distillation split reach a teacher.
    cues = audit.distill
    rows = [("provider", audit.provider), ("cues for training", f"{cues.cues:,}")]
    shares = (
        ("grounded", cues.grounded_share),
        ("with the answer", cues.answer_leak_share),
        ("skipped", cues.skipped_share),
    )
    rows += [(name, percent(share)) for name, share in shares if share is not None]
    if cues.mean_words is not None:
        rows.append(("mean length", f"{cues.mean_words:.1f} words"))
    return Facts("Cues", tuple(rows))


def evaluation_facts(comparison: Comparison, decoding: Mapping[str, Any]) -> Facts:
    """Describe the decoding of responses and the computation of intervals."""
    how = ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in decoding.items() if name != _LENGTH)
    return Facts(
        "Evaluation",
        (
            ("decoding", "greedy" if decoding.get("temperature") == 0 else how),
            ("maximum response", f"{decoding.get(_LENGTH)} tokens"),
            ("bootstrap", f"{comparison.resamples:,} resamples"),
            ("confidence", f"{100 * comparison.confidence:g} %"),
            ("seed", str(comparison.seed)),
        ),
    )


def training_table(models: Sequence[ReportModel], folders: Mapping[str, Path]) -> TrainingTable | None:
    """Collect the training records in the students' folders; ``None`` if there are none."""
    records: dict[str, dict[str, Any]] = {}
    for method, folder in folders.items():
        path = folder / "vicur.json"
        if path.exists():
            records[method] = json.loads(path.read_text(encoding="utf-8"))
    trained = tuple(model for model in models if model.name in records)
    rows = [(title, [records[m.name].get(key) for m in trained]) for key, title in _TRAINING.items()]
    rows += [
        (title, [(records[m.name].get("training") or {}).get(key) for m in trained]) for key, title in _SETTINGS.items()
    ]
    rows += [
        (title, [str(records[m.name].get(key, "–"))[:_HASH_DIGITS] for m in trained]) for key, title in _HASHES.items()
    ]
    # Rows without a value for any student are dropped: records of older releases lack some of the settings.
    known = tuple((title, tuple(map(_value, values))) for title, values in rows if any(v is not None for v in values))
    return TrainingTable(trained, known) if trained else None


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        settings = ", ".join(f"{name} {_value(v)}" for name, v in value.items() if name != "type")
        return f"{value['type']} ({settings})" if settings else str(value["type"])
    return f"{value:.4g}" if isinstance(value, float) else str(value)
