"""What the step and its nodes hand each other through S3: inputs there, the student back.

Inputs lie below the run's address of checkpoints, each folder under its hash, so that the trainings of a pipeline upload a dataset or a
base once. The student lies beside the checkpoints of its training. A folder is there once its marker is.
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

_WHOLE = "whole"
_RESULT = "result.json"
_STUDENT = "student"


def send_inputs(
    root: str, inputs: Mapping[str, Path], hashes: Mapping[str, str], shared: tuple[str, ...]
) -> dict[str, str]:
    """Makes inputs readable from everywhere.

    Args:
        root: address on S3.
        inputs: folders by name.
        hashes: their hashes.
        shared: folders that are mounted everywhere.

    Returns:
        Where the nodes find each: a path where it is below a shared folder, else an address.

    Raises:
        VicurError: where S3 does not answer or refuses.
    """
    folders = S3Folders.at(f"{root}/inputs", _WHOLE)
    places = {}
    for name, path in inputs.items():
        real = path.resolve()
        if any(real.is_relative_to(Path(folder).resolve()) for folder in shared):
            places[name] = str(real)
            continue
        if folders.share(real, hashes[name]):
            log.info("uploaded the %s to %s/%s", name, folders.address, hashes[name])
        places[name] = f"{folders.address}/{hashes[name]}"
    return places


def fetch_inputs(places: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Brings inputs to this machine, from where :func:`send_inputs` has put them.

    Raises:
        VicurError: where one is not there, or S3 does not answer or refuses.
    """
    paths = {}
    for name, place in places.items():
        if not is_s3(place):
            paths[name] = Path(place)
            continue
        address, _, key = place.rpartition("/")
        S3Folders.at(address, _WHOLE).get(key, folder / name)
        (folder / name / _WHOLE).unlink()
        paths[name] = folder / name
    return paths


def send_student(address: str, student: Path, summary: Mapping[str, Any]) -> None:
    """Uploads a student with the training's summary and its own hash.

    Raises:
        VicurError: where S3 does not answer or refuses.
    """
    mark = {"summary": dict(summary), "sha256": tree_sha256(student)}
    S3Folders.at(address, _RESULT).put(student, _STUDENT, json.dumps(mark).encode())


def has_student(address: str) -> bool:
    """Whether a student is there, whole.

    Raises:
        VicurError: where S3 does not answer or refuses.
    """
    return _STUDENT in S3Folders.at(address, _RESULT).names()


def fetch_student(address: str, output: Path) -> dict[str, Any]:
    """Brings a student to this machine, checks it byte for byte, and removes it from S3.

    Returns:
        The training's summary.

    Raises:
        VicurError: where there is none, it was damaged on its way, or S3 does not answer or refuses.
    """
    folders = S3Folders.at(address, _RESULT)
    if _STUDENT not in folders.names():
        raise _wanting(address, "the nodes ended well and left no student")
    folders.get(_STUDENT, output)
    mark = json.loads((output / _RESULT).read_text(encoding="utf-8"))
    (output / _RESULT).unlink()
    intact = tree_sha256(output) == mark["sha256"]
    folders.remove(_STUDENT)
    if not intact:
        raise _wanting(address, "the student is not what the nodes have written")
    summary: dict[str, Any] = mark["summary"]
    return summary


def _wanting(address: str, what: str) -> VicurError:
    return VicurError(
        f"{what}.",
        where=f"{address}/{_STUDENT}",
        remedy="Given again, the step goes on from the last checkpoint, and the student is written anew.",
        exit_code=EXIT_CODE,
        retryable=True,
    )
