"""Lineage of a student: the data, cues, parent, code and training that its version in the registry records.

``checkpoint`` covers the files that determine the model's output. Together with method, dataset and cues it identifies a
student that is already registered. Records of the training (run ids, curves) are not covered: training again to the same
weights gives the same student.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

import vicur
from vicur.config.training import MASTERS
from vicur.data.pin import dvc_hash
from vicur.errors import VicurError
from vicur.stage.code_version import code_version
from vicur.stage.environment import Environment
from vicur.storage.folders import file_sha256, files_below, tree_sha256

_RECORD = "vicur.json"
_NOT_MODEL = (_RECORD, "metrics.jsonl")
_PREFIX = "vicur."


class StudentRecord(BaseModel):
    """The fields of ``vicur.json``, written by the training stage, that lineage needs."""

    method: str
    privilege: str
    recovery: bool
    parent: str
    # Hashes of the folders of the base, the dataset and the cues.
    dataset: str
    cues: str
    seed: int
    steps: int
    best_step: int
    validation_accuracy: float
    teacher: dict[str, Any] = {}
    """Settings of the teacher."""
    objective: dict[str, Any] = {}
    """Settings of the objective."""
    training: dict[str, Any] = {}
    environment: Environment = Environment()
    mlflow_run_id: str | None = None


class Lineage(BaseModel, frozen=True):
    """Origin of a version. Renaming a field loses it in existing versions. Those of older releases may lack some."""

    method: str = ""
    privilege: str = ""
    teacher: str = ""
    """Type of its teacher."""
    objective: str = ""
    cue_recovery: bool = False
    # The checksums identify content: the same weights, base, dataset or cues have the same one on every machine.
    checkpoint: str = ""
    """SHA-256 over the student's model files."""
    parent: str = ""
    """SHA-256 of its base."""
    dataset: str = ""
    """The dataset's DVC hash."""
    dataset_source: str = ""
    """Type of the source that it was prepared from."""
    cues: str = ""
    """SHA-256 of the cues."""
    cue_provider: str = ""
    code: str = ""
    """Version of the training code."""
    package: str = ""
    """Release of vicur."""
    seed: int = 0
    training_run: str = ""
    """MLflow run of the training; empty if it was not tracked."""

    def tags(self) -> dict[str, str]:
        """Return all fields as tags of a run."""
        # A student that was trained without tracking has no run: leave the tag out.
        return {f"{_PREFIX}{name}": _text(value) for name, value in self if value != ""}

    def identity(self) -> dict[str, str]:
        """Return the tags that identify a student. With those of its evaluation's settings, they identify a version."""
        tags = self.tags()
        return {f"{_PREFIX}{name}": tags[f"{_PREFIX}{name}"] for name in ("checkpoint", "method", "dataset", "cues")}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_record(student: Path) -> StudentRecord:
    """Read the training record of a student.

    Raises:
        VicurError: if the folder was not written by the training stage.
    """
    path = student / _RECORD
    try:
        return StudentRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VicurError(
            "does not exist, so the folder is not a student.",
            where=str(path),
            remedy="Pass the output folder of the train stage.",
        ) from error
    except (ValidationError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise VicurError(
            f"is not a training record ({reason}).", where=str(path), remedy="Train the student again."
        ) from error


def checkpoint_sha256(student: Path) -> str:
    """Return a SHA-256 over the paths and bytes of the model's files: configuration, weights, tokenizer, processor.

    Float32 weights that a training kept beside those of the student do not count, and are not registered.
    """
    digest = hashlib.sha256()
    # Files are sorted by path, so the checksum does not depend on the file system.
    for file in files_below(student):
        name = file.relative_to(student).as_posix()
        if name not in _NOT_MODEL and not name.startswith(f"{MASTERS}/"):
            digest.update(f"{name}\0{file_sha256(file)}\n".encode())
    return digest.hexdigest()


def trace(inputs: Mapping[str, Path]) -> Lineage:
    """Collect the lineage of the student from the inputs ``student``, ``dataset`` and ``cues``.

    Raises:
        VicurError: if the student was trained with another dataset or other cues.
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
        # Students of earlier releases do not record it. The pipeline trains and registers with the same code.
        code=record.environment.code or code_version("vicur.training.train"),
        package=record.environment.vicur or vicur.__version__,
        seed=record.seed,
        training_run=record.mlflow_run_id or "",
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).",
            where=str(path),
            remedy="Run the stage that writes it again.",
        ) from error
    return content if isinstance(content, dict) else {}
