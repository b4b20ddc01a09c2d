"""Where a student comes from: what its version in the registry says of data, cues, parent, code and training.

Two identities matter. ``checkpoint`` covers the files that make the model compute what it computes; together with what it
was taught with, it tells whether a student is registered already. The record of its making (run ids, curves) stays out:
training again to the same weights gives the same student.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

import vicur
from vicur.data.pin import dvc_hash
from vicur.errors import VicurError
from vicur.stage.code_version import code_version
from vicur.storage.folders import file_sha256, files_below, tree_sha256

_RECORD = "vicur.json"
_NOT_MODEL = (_RECORD, "metrics.jsonl")
_PREFIX = "vicur."


class StudentRecord(BaseModel):
    """What the training stage wrote into ``vicur.json``, as far as lineage needs it."""

    method: str
    privilege: str
    recovery: bool
    parent: str
    """Hash of the checkpoint that the student started from."""
    dataset: str
    """Hash of the dataset folder that it was trained with."""
    cues: str
    """Hash of the cues folder."""
    seed: int
    steps: int
    best_step: int
    validation_accuracy: float
    teacher: dict[str, Any] = {}
    """Who scored its responses."""
    objective: dict[str, Any] = {}
    """What was minimised."""
    training: dict[str, Any] = {}
    """Settings of the training."""
    mlflow_run_id: str | None = None


class Lineage(BaseModel, frozen=True):
    """What a version says of its origin. Each field becomes a tag ``vicur.<field>``."""

    method: str
    privilege: str
    teacher: str
    """Kind of its teacher."""
    objective: str
    """What was minimised."""
    cue_recovery: bool
    checkpoint: str
    """SHA-256 over the student's model files."""
    parent: str
    """SHA-256 of its base."""
    dataset: str
    """The dataset's DVC hash."""
    dataset_source: str
    """Which kind of source it was prepared from."""
    cues: str
    """SHA-256 of the cues."""
    cue_provider: str
    code: str
    """Version of the training code."""
    package: str
    """Release of this package."""
    seed: int
    training_run: str
    """MLflow run that trained it; empty where it was not tracked."""

    def tags(self) -> dict[str, str]:
        """As tags of a model version."""
        return {f"{_PREFIX}{name}": _text(value) for name, value in self if value != ""}

    def identity(self) -> dict[str, str]:
        """The tags by which a student that is registered already is found."""
        tags = self.tags()
        return {f"{_PREFIX}{name}": tags[f"{_PREFIX}{name}"] for name in ("checkpoint", "method", "dataset", "cues")}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_record(student: Path) -> StudentRecord:
    """The record of a student's making.

    Raises:
        VicurError: where the folder holds no student of the training stage.
    """
    path = student / _RECORD
    try:
        return StudentRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VicurError(
            "does not exist, so this is no student.", where=str(path), remedy="Register what the train stage wrote."
        ) from error
    except (ValidationError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise VicurError(
            f"is no record of a training ({reason}).", where=str(path), remedy="Train the student again."
        ) from error


def checkpoint_sha256(student: Path) -> str:
    """SHA-256 over the paths and bytes of the files that make the model: configuration, weights, tokenizer, processor."""
    digest = hashlib.sha256()
    for file in files_below(student):
        name = file.relative_to(student).as_posix()
        if name not in _NOT_MODEL:
            digest.update(f"{name}\0{file_sha256(file)}\n".encode())
    return digest.hexdigest()


def trace(inputs: Mapping[str, Path]) -> Lineage:
    """Collects the lineage of the student among a stage's inputs.

    Args:
        inputs: ``student``, ``dataset`` and ``cues``.

    Raises:
        VicurError: where they do not belong together: the lineage would not be true.
    """
    record = read_record(inputs["student"])
    for name, trained_with in (("dataset", record.dataset), ("cues", record.cues)):
        if tree_sha256(inputs[name]) != trained_with:
            raise VicurError(
                f"is not the {name} that the student was trained with.",
                where=str(inputs[name]),
                remedy=f"Pass the {name} of the student's own run.",
            )
    return Lineage(
        method=record.method,
        privilege=record.privilege,
        teacher=str(record.teacher.get("type", "")),
        objective=str(record.objective.get("type", "")),
        cue_recovery=record.recovery,
        checkpoint=checkpoint_sha256(inputs["student"]),
        parent=record.parent,
        dataset=dvc_hash(inputs["dataset"]).md5,
        dataset_source=str(_json(inputs["dataset"] / "manifest.json").get("source", {}).get("type", "unknown")),
        cues=record.cues,
        cue_provider=str(_json(inputs["cues"] / "audit.json").get("provider", "unknown")),
        code=code_version("vicur.training.train"),
        package=vicur.__version__,
        seed=record.seed,
        training_run=record.mlflow_run_id or "",
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=str(path), remedy="Run the stage that writes it."
        ) from error
    return found if isinstance(found, dict) else {}
