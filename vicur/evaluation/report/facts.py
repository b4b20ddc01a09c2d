"""What the report says of data, cues, training and settings, so that its figures can be traced."""

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
from vicur.evaluation.verdicts import percent

_TRAINING = {
    "steps": "Updates made",
    "best_step": "Best weights after",
    "validation_accuracy": "Validation accuracy then",
    "seed": "Seed",
}
_SETTINGS = {
    "batch_size": "Prompts a step",
    "learning_rate": "Learning rate",
    "objective": "Objective",
    "max_grad_norm": "Gradient norm limit",
    "trained": "Trained",
}
_HASHES = {"parent": "Base, sha256", "dataset": "Dataset, sha256", "cues": "Cues, sha256"}
_HASH_DIGITS = 12
_LENGTH = "max_new_tokens"


@dataclass(frozen=True)
class Facts:
    """One group of facts."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TrainingTable:
    """How each student was trained: rows of values, one a student."""

    models: tuple[ReportModel, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def dataset_facts(folder: Path) -> Facts:
    """Where the examples come from, and which bytes they are."""
    manifest = read_manifest(folder)
    rows = [("source", str(manifest.source.get("type", "unknown"))), ("hash (as DVC has it)", dvc_hash(folder).md5)]
    if manifest.seed is not None:
        rows.append(("seed", str(manifest.seed)))
    rows += [(f"{split} examples", f"{count:,}") for split, count in manifest.examples.items()]
    return Facts("Dataset", tuple(rows))


def cue_facts(folder: Path) -> Facts:
    """Where the cues come from, and what their audit found."""
    audit = Audit.model_validate_json((folder / AUDIT_FILE).read_text(encoding="utf-8"))
    taught = audit.distill
    rows = [("provider", audit.provider), ("cues that teach", f"{taught.cues:,}")]
    shares = (
        ("grounded", taught.grounded_share),
        ("leak the answer", taught.answer_leak_share),
        ("skipped", taught.skipped_share),
    )
    rows += [(name, percent(share)) for name, share in shares if share is not None]
    if taught.mean_words is not None:
        rows.append(("mean length", f"{taught.mean_words:.1f} words"))
    return Facts("Cues", tuple(rows))


def evaluation_facts(comparison: Comparison, decoding: Mapping[str, Any]) -> Facts:
    """How answers were decoded and intervals made."""
    how = ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in decoding.items() if name != _LENGTH)
    return Facts(
        "Evaluation",
        (
            ("decoding", "greedy" if decoding.get("temperature") == 0 else how),
            ("longest response", f"{decoding.get(_LENGTH)} tokens"),
            ("bootstrap", f"{comparison.resamples:,} resamples"),
            ("confidence", f"{100 * comparison.confidence:g} %"),
            ("seed", str(comparison.seed)),
        ),
    )


def training_table(models: Sequence[ReportModel], folders: Mapping[str, Path]) -> TrainingTable | None:
    """What the students' own records say of their training; ``None`` where there are no records."""
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
