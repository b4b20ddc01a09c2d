"""Checkpoints of registered students, brought here and known to be what was registered.

They are kept below a folder by the checksum that registration recorded: whole or absent, and read again to the last byte before each use.
"""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from vicur.errors import VicurError
from vicur.registry.lineage import checkpoint_sha256
from vicur.registry.package import CHECKPOINT
from vicur.registry.versions import Version, get_version
from vicur.storage.folders import new_folder, unwritable
from vicur.tracking.mlflow import as_default, mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

SCHEME = "models:/"
_ADDRESS = re.compile(r"models:/(?P<model>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")
_TAG = "vicur.checkpoint"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Kept:
    """A registered student's checkpoint on this machine.

    Attributes:
        version: which version it is.
        folder: where its files are.
        fetched: whether they were fetched now, and not found there.
    """

    version: Version
    folder: Path
    fetched: bool


def fetch(client: MlflowClient, address: str, cache: Path) -> Kept:
    """Brings the checkpoint of a version here.

    Args:
        client: MLflow's client.
        address: ``models:/<name>@<alias>`` or ``models:/<name>/<number>``.
        cache: folder below which checkpoints are kept.

    Raises:
        VicurError: where the address names no version, its files cannot be fetched, or they are not those that were registered.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise VicurError(
            "is no address of a model version.",
            where=address,
            remedy="Write models:/NAME@ALIAS or models:/NAME/NUMBER.",
        )
    with mlflow_errors(client.tracking_uri), as_default(client):
        version = get_version(client, found["model"], found["alias"] or found["number"])
        return _kept(client, version, cache)


def _kept(client: MlflowClient, version: Version, cache: Path) -> Kept:
    wanted = version.tags.get(_TAG, "")
    if not _SHA256.fullmatch(wanted):
        raise VicurError(
            f"has no checksum of its checkpoint (tag {_TAG}).",
            where=str(version),
            remedy="Register the student with vicur register.",
        )
    place = cache / wanted
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Two servers that start side by side: the second waits, and then finds it there.
        with FileLock(cache / f".{wanted}.lock"):
            if place.is_dir():
                if checkpoint_sha256(place) == wanted:
                    return Kept(version, place, fetched=False)
                log.warning("%s is no longer what was registered. It is fetched again.", place)
            with new_folder(place) as partial:
                _fetch_into(partial, client, version, wanted)
    except OSError as error:
        raise unwritable(cache, error) from error
    return Kept(version, place, fetched=True)


def _fetch_into(folder: Path, client: MlflowClient, version: Version, wanted: str) -> None:
    """Fetches a checkpoint's files into a folder.

    Raises:
        VicurError: where they are others than those that were registered.
    """
    work = folder / ".fetched"
    checkpoint = download_checkpoint(client, version, work)
    found = checkpoint_sha256(checkpoint)
    if found != wanted:
        raise VicurError(
            f"its checkpoint has the checksum {found[:12]}..., and {wanted[:12]}... was registered.",
            where=str(version),
            remedy="Its files in the artifact store were changed or damaged: restore them, or register the student again.",
        )
    for file in checkpoint.iterdir():
        file.rename(folder / file.name)
    shutil.rmtree(work)


def download_checkpoint(client: MlflowClient, version: Version, work: Path) -> Path:
    """The student's folder from a version's model.

    Raises:
        VicurError: where the version holds none.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    folder = work / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{version.model}/{version.number}",
            dst_path=str(folder),
            tracking_uri=client.tracking_uri,
            registry_uri=client.tracking_uri,
        )
    except (MlflowException, OSError) as error:
        raise VicurError(
            f"its files cannot be fetched ({str(error).splitlines()[0]}).",
            where=str(version),
            remedy="Check the artifact store.",
        ) from error
    checkpoint = folder / "artifacts" / CHECKPOINT
    if not checkpoint.is_dir():
        raise VicurError(
            "holds no checkpoint of a student.",
            where=str(version),
            remedy="Register students under a name of their own.",
        )
    return checkpoint
