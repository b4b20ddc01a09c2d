"""Transfer inputs from the step to its nodes, and the student back, through S3.

Inputs are stored below the run's address for checkpoints, each folder under its hash, so the trainings of a pipeline upload a
dataset or base model once. The student is stored next to the checkpoints of its training. A folder counts as present once its
marker object exists, which is uploaded last.

Every function raises a :class:`~vicur.errors.VicurError` if S3 does not respond or denies access.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE
from vicur.storage.folders import tree_sha256
from vicur.storage.s3 import S3Folders, is_s3

log = logging.getLogger(__name__)

# Names of the marker objects. Inputs are kept for later runs, so these names must not change.
_COMPLETE = "whole"
_RESULT = "result.json"
_STUDENT = "student"


def upload_inputs(
    root: str, inputs: Mapping[str, Path], hashes: Mapping[str, str], shared: tuple[str, ...]
) -> dict[str, str]:
    """Upload input folders below ``root`` under their hashes. Return the path or S3 address at which nodes find each.

    Inputs below a ``shared`` folder, which is mounted on all nodes, are not uploaded.
    """
    folders = S3Folders.at(f"{root}/inputs", _COMPLETE)
    addresses = {}
    for name, path in inputs.items():
        # Symbolic links may lead into a shared folder, or out of one.
        real = path.resolve()
        if any(real.is_relative_to(Path(folder).resolve()) for folder in shared):
            addresses[name] = str(real)
            continue
        if folders.share(real, hashes[name]):
            log.info("Uploaded the input '%s' to %s/%s.", name, folders.address, hashes[name])
        addresses[name] = f"{folders.address}/{hashes[name]}"
    return addresses


def download_inputs(addresses: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Download inputs from where :func:`upload_inputs` stored them, and return their local paths."""
    paths = {}
    for name, address in addresses.items():
        if not is_s3(address):
            paths[name] = Path(address)
            continue
        parent, _, key = address.rpartition("/")
        S3Folders.at(parent, _COMPLETE).get(key, folder / name)
        # The marker does not belong to the input and would change the folder's hash.
        (folder / name / _COMPLETE).unlink()
        paths[name] = folder / name
    return paths


def upload_student(address: str, student: Path, summary: Mapping[str, Any]) -> None:
    """Upload a student with the training's summary and the student's hash."""
    marker = {"summary": dict(summary), "sha256": tree_sha256(student)}
    S3Folders.at(address, _RESULT).put(student, _STUDENT, json.dumps(marker).encode())


def student_exists(address: str) -> bool:
    """Return whether a complete student is stored at an address."""
    return _STUDENT in S3Folders.at(address, _RESULT).names()


def download_student(address: str, output: Path) -> dict[str, Any]:
    """Move a student from S3 to ``output``, verify its hash, and return the training's summary.

    Raises:
        VicurError: if the student is missing or damaged.
    """
    folders = S3Folders.at(address, _RESULT)
    if _STUDENT not in folders.names():
        raise _missing(address, "the nodes succeeded but did not upload a student")
    folders.get(_STUDENT, output)
    marker = json.loads((output / _RESULT).read_text(encoding="utf-8"))
    (output / _RESULT).unlink()
    intact = tree_sha256(output) == marker["sha256"]
    # A damaged student is removed as well, so that a retry trains again instead of downloading it once more.
    folders.remove(_STUDENT)
    if not intact:
        raise _missing(address, "the downloaded student differs from what the nodes uploaded")
    summary: dict[str, Any] = marker["summary"]
    return summary


def _missing(address: str, problem: str) -> VicurError:
    return VicurError(
        f"{problem}.",
        where=f"{address}/{_STUDENT}",
        remedy="Retry the step: it resumes from the last checkpoint and uploads the student again.",
        exit_code=EXIT_CODE,
        retryable=True,
    )
