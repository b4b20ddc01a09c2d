"""Download the checkpoints of registered students, verified against the checksum that registration recorded.

They are cached in folders named by that checksum. A folder is complete or absent, and its checksum is computed again
before each use.
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
from vicur.registry.provenance import Provenance, provenance_of
from vicur.registry.versions import Version, get_version
from vicur.registry.weights import complete
from vicur.storage.folders import new_folder, unwritable
from vicur.tracking.mlflow import as_default, mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

SCHEME = "models:/"
_ADDRESS = re.compile(r"models:/(?P<model>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class LocalCheckpoint:
    """A registered student's checkpoint on this machine."""

    version: Version
    folder: Path
    provenance: Provenance
    fetched: bool
    """True if it was downloaded now, False if it was in the cache."""


def fetch(client: MlflowClient, address: str, cache: Path) -> LocalCheckpoint:
    """Download the checkpoint of a version, or find it in the cache.

    Args:
        client: client of the server with the registry.
        address: ``models:/<name>@<alias>`` or ``models:/<name>/<number>``.
        cache: folder for checkpoints.

    Raises:
        VicurError: if the address names no version, its files cannot be downloaded, or they have another checksum.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise VicurError(
            "is not the address of a model version.",
            where=address,
            remedy="Write models:/NAME@ALIAS or models:/NAME/NUMBER.",
        )
    with mlflow_errors(client.tracking_uri), as_default(client):
        version = get_version(client, match["model"], match["alias"] or match["number"])
        return _cached(client, version, cache)


def _cached(client: MlflowClient, version: Version, cache: Path) -> LocalCheckpoint:
    provenance = provenance_of(client, version)
    # It becomes the name of a folder: accept nothing but a checksum.
    sha256 = provenance.lineage.checkpoint
    if not _SHA256.fullmatch(sha256):
        raise VicurError(
            "has no checksum of its checkpoint.",
            where=str(version),
            remedy="Register the student with vicur register.",
        )
    folder = cache / sha256
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # If two servers start at the same time, the second waits here and then finds the checkpoint.
        with FileLock(cache / f".{sha256}.lock"):
            if folder.is_dir():
                if checkpoint_sha256(folder) == sha256:
                    return LocalCheckpoint(version, folder, provenance, fetched=False)
                log.warning("%s no longer matches its checksum. Downloading it again.", folder)
            with new_folder(folder) as partial:
                _download_into(partial, client, version, sha256)
    except OSError as error:
        raise unwritable(cache, error) from error
    return LocalCheckpoint(version, folder, provenance, fetched=True)


def _download_into(folder: Path, client: MlflowClient, version: Version, sha256: str) -> None:
    # Below the new folder, so that both are on one file system and the files can be renamed.
    work = folder / ".download"
    checkpoint = verified_checkpoint(client, version, work, sha256)
    for file in checkpoint.iterdir():
        file.rename(folder / file.name)
    shutil.rmtree(work)


def verified_checkpoint(client: MlflowClient, version: Version, work: Path, sha256: str) -> Path:
    """Download a version's model as :func:`download_checkpoint` does, and compare the student's checksum with ``sha256``.

    Raises:
        VicurError: if it differs, or the download fails.
    """
    checkpoint = download_checkpoint(client, version, work)
    downloaded = checkpoint_sha256(checkpoint)
    if downloaded != sha256:
        raise VicurError(
            f"its checkpoint has the checksum {downloaded[:12]}..., but {sha256[:12]}... was registered.",
            where=str(version),
            remedy="Its files in the artifact store were changed or damaged: restore them, or register the student again.",
        )
    return checkpoint


def download_checkpoint(client: MlflowClient, version: Version, work: Path) -> Path:
    """Download a version's model into ``work`` and return the student's folder in it.

    Raises:
        VicurError: if the download fails, also that of weights that the model refers to, or the model contains no student.
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
            f"its files cannot be downloaded ({str(error).splitlines()[0]}).",
            where=str(version),
            remedy="Check the artifact store.",
        ) from error
    checkpoint = folder / "artifacts" / CHECKPOINT
    if not checkpoint.is_dir():
        raise VicurError(
            "contains no checkpoint of a student.",
            where=str(version),
            remedy="Register students under a model name that nothing else uses.",
        )
    complete(folder, checkpoint)
    return checkpoint
