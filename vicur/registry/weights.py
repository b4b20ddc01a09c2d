"""Weights that stay in the object store in which the pipeline put them, in place of a second copy in MLflow's.

``weights.json`` next to a version's model names their address, and the size and SHA-256 of each file. Readers of the version fetch them
from there, with credentials of their own, and check them. The address of the store itself comes from the reader's environment
(``AWS_ENDPOINT_URL_S3``), never from this file.
"""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError, field_validator

from vicur.config.address import S3_ADDRESS
from vicur.errors import VicurError
from vicur.storage.folders import file_sha256, new_file, unwritable
from vicur.storage.object_store import Objects, objects_at

log = logging.getLogger(__name__)

WEIGHTS = "weights.json"
_SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*\.safetensors")
_PORTION = 64 << 20
_LARGEST = 1 << 20
_GONE = "If they are gone, restore them, or register the student again from its folder: its weights are then uploaded."
_RESTORE = "Restore them there, or register the student again from its folder: its weights are then uploaded."


class WeightFile(BaseModel, frozen=True):
    """A file at the address."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class WeightsReference(BaseModel, frozen=True):
    """Content of ``weights.json``."""

    address: Annotated[str, Field(pattern=f"^{S3_ADDRESS}$")]
    files: dict[str, WeightFile] = Field(min_length=1)

    @field_validator("files")
    @classmethod
    def _are_weights(cls, files: dict[str, WeightFile]) -> dict[str, WeightFile]:
        # They become files next to a checkpoint's configuration: accept nothing but weights.
        wrong = [name for name in files if not _NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not the name of a file of weights")
        return files

    def missing(self) -> list[str]:
        """Return the files that the address lists with another size or not at all. Their content is not read."""
        stored = {each.key: each.size for each in objects_at(self.address).all()}
        return sorted(name for name, file in self.files.items() if stored.get(name) != file.bytes)

    def wrong(self) -> list[str]:
        """Return the files that are missing or have another content, after reading all others."""
        objects, missing = objects_at(self.address), self.missing()
        return [
            name
            for name, file in sorted(self.files.items())
            if name in missing or _sha256_at(objects, name, file.bytes) != file.sha256
        ]


def address_on_s3(uri: str) -> str | None:
    """Return the S3 address of an artifact of Kubeflow Pipelines, or ``None`` if it lies elsewhere."""
    # Kubeflow Pipelines names its own store minio://, whichever server it is.
    scheme, _, place = uri.partition("://")
    return f"s3://{place}" if scheme in ("s3", "minio") and place else None


def reference_to(student: Path, address: str) -> WeightsReference:
    """Return a reference to the weights of ``student`` at ``address``, after reading all of them there.

    Raises:
        VicurError: if they cannot be read there, or are not those of the student.
    """
    files = {
        file.name: WeightFile(bytes=file.stat().st_size, sha256=file_sha256(file))
        for file in sorted(student.glob(f"*{_SUFFIX}"))
    }
    reference = WeightsReference(address=address, files=files)
    for name in reference.wrong():
        raise VicurError(
            f"is not {name} of the student that is registered.",
            where=f"{address}/{name}",
            remedy="Upload the student there again, or set registry.weights to upload.",
        )
    return reference


def _sha256_at(objects: Objects, key: str, size: int) -> str:
    digest, read = hashlib.sha256(), 0
    while read < size and (portion := objects.read_range(key, read, min(_PORTION, size - read))):
        digest.update(portion)
        read += len(portion)
    return digest.hexdigest()


def read_reference(model: Path) -> WeightsReference | None:
    """Return the reference of the MLflow model in a folder, or ``None`` if the model has its own weights.

    Raises:
        VicurError: if ``weights.json`` is damaged.
    """
    file = model / WEIGHTS
    if not file.is_file():
        return None
    if file.stat().st_size > _LARGEST:
        raise _damaged(str(file), f"has more than {_LARGEST} bytes")
    return parse_reference(file.read_text(encoding="utf-8", errors="replace"), str(file))


def parse_reference(text: str, where: str) -> WeightsReference:
    """Parse ``weights.json``.

    Raises:
        VicurError: if it is damaged.
    """
    try:
        return WeightsReference.model_validate_json(text)
    except ValidationError as error:
        raise _damaged(where, str(error.errors()[0]["msg"])) from error


def complete(model: Path, checkpoint: Path) -> None:
    """Fetch the weights that the MLflow model in ``model`` refers to into its folder ``checkpoint``. Files that are there are kept.

    Raises:
        VicurError: if they are gone, denied, or have another content.
    """
    reference = read_reference(model)
    if reference is None:
        return
    try:
        for name, file in reference.files.items():
            if not (checkpoint / name).is_file():
                _fetch(reference.address, name, file, checkpoint / name)
            elif file_sha256(checkpoint / name) != file.sha256:
                raise VicurError("is damaged.", where=str(checkpoint / name), remedy="Download the version again.")
    except OSError as error:
        raise unwritable(checkpoint, error) from error


def _fetch(address: str, name: str, file: WeightFile, target: Path) -> None:
    log.info("Fetching %s from %s.", name, address)
    received = 0

    def count(more: int) -> None:
        nonlocal received
        received += more
        # Do not fill the disk with something else.
        if received > 2 * file.bytes:
            raise _changed(address, name)

    with new_file(target) as partial:
        try:
            objects_at(address).copy(name, partial, count)
        except VicurError as error:
            raise VicurError(
                f"the weights of this version cannot be read: {error.where}: {error.problem}",
                where=address,
                remedy=f"{error.remedy} {_GONE}",
                retryable=error.retryable,
            ) from error
        if partial.stat().st_size != file.bytes or file_sha256(partial) != file.sha256:
            raise _changed(address, name)


def _changed(address: str, name: str) -> VicurError:
    return VicurError(
        "has another content than the weights that were registered.", where=f"{address}/{name}", remedy=_RESTORE
    )


def _damaged(where: str, problem: str) -> VicurError:
    return VicurError(f"is damaged ({problem}).", where=where, remedy="Register the student again.")
