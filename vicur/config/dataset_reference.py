"""A dataset in one line, for forms and command lines that cannot take a whole section.

| text | dataset |
|---|---|
| (empty) | the configured dataset |
| ``digit-scenes`` | the embedded digit scenes |
| ``<md5>.dir@s3://bucket/prefix`` | a folder in a DVC remote, by its hash |
| ``<md5>.dir@/mnt/dvc`` | the same, in a mounted remote |
| ``s3://bucket/prefix`` | a folder on S3 |
| ``hf://owner/name@COMMIT`` | a dataset on the Hugging Face Hub |
| ``pvc://CLAIM/path`` | a folder on a volume that the steps mount |
| ``/mnt/folder`` | a mounted folder |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vicur.config.address import DATASET_HASH, S3_ADDRESS
from vicur.config.data import DataConfig, DigitScenesConfig, FolderConfig, HubConfig, PinnedConfig, RemoteConfig
from vicur.config.model_address import claim_address, mounted
from vicur.errors import VicurError
from vicur.redaction import redacted

_DIGIT_SCENES = "digit-scenes"
_HUB = re.compile(r"hf://(?P<place>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>.*))?")
_FORMS = (
    f"Write {_DIGIT_SCENES}, <md5>.dir@s3://bucket/dvc (a hash and its DVC remote), s3://bucket/folder, hf://owner/name@COMMIT, "
    "pvc://CLAIM/folder or /mnt/folder."
)


def dataset_reference(
    text: str, configured: DataConfig | None = None, *, mounts: Mapping[str, Path] | None = None
) -> DataConfig:
    """Parse a reference to a dataset into the section ``data``, without checking that the dataset exists.

    An empty reference means the configured dataset, or the embedded digit scenes if there is none. Another dataset keeps the configured
    settings of prompts. ``mounts`` are the folders of volumes by claim.
    """
    found = _parsed(text, configured, mounts or {})
    return found if configured is None else found.with_prompts_of(configured)


def _parsed(text: str, configured: DataConfig | None, mounts: Mapping[str, Path]) -> DataConfig:
    reference = text.strip()
    if not reference:
        return DigitScenesConfig() if configured is None else configured
    if reference in (_DIGIT_SCENES, "digit_scenes"):
        return DigitScenesConfig()
    name, separator, remote = reference.partition("@")
    if re.fullmatch(r"[0-9a-fA-F]{32}(\.dir)?", name):
        return _pinned(name, remote if separator else "", reference)
    if reference.startswith("s3://"):
        _require(re.fullmatch(S3_ADDRESS, reference), "is not an S3 address", reference)
        return RemoteConfig(uri=reference)
    if reference.startswith("pvc://"):
        return FolderConfig(path=_on_a_volume(reference, mounts))
    if reference.startswith("hf://"):
        return _on_the_hub(reference)
    scheme = re.match(r"[a-z][a-z0-9+.-]*:", reference, re.IGNORECASE)
    _require(
        scheme is None,
        f"is an address with {scheme and scheme[0]}, but datasets can only be fetched from S3",
        reference,
    )
    # A relative path would mean different folders here and in a step's container.
    _require(reference.startswith("/"), "is neither a known dataset nor an absolute path", reference)
    return FolderConfig(path=Path(reference))


def _on_a_volume(reference: str, mounts: Mapping[str, Path]) -> Path:
    try:
        return mounted(claim_address(reference), mounts)
    except ValueError as error:
        raise VicurError(f"{error}.", where=f"dataset {reference!r}", remedy=_FORMS) from error


def dataset_section(text: str) -> dict[str, Any]:
    """Parse a reference on this machine into the settings of a section: as above, or the path of a folder or of a single data file."""
    if "://" in text or re.match(r"[0-9a-fA-F]{32}(\.dir)?@", text):
        section = dataset_reference(text)
        return section.model_dump(exclude_unset=True) | {"type": section.type}
    path = Path(text).expanduser()
    if path.is_file():
        # Images are looked up in its folder, whose content is then part of the dataset's identity.
        return {"type": "folder", "path": path.parent, "files": (path.name,)}
    return {"type": "folder", "path": path}


def _on_the_hub(reference: str) -> HubConfig:
    match = _HUB.fullmatch(reference)
    _require(match, "is not a dataset on the Hub, which is hf://owner/name@COMMIT", reference)
    place, revision = match["place"], match["revision"]  # type: ignore[index]
    if not revision or not re.fullmatch(r"[0-9a-f]{40}", revision):
        given = f"names the revision {revision!r}" if revision else "names no commit"
        raise VicurError(
            f"{given}, but only a commit identifies the data.",
            where=f"dataset {reference!r}",
            remedy=f"Write hf://{place}@COMMIT with the 40 hex digits that 'vicur data inspect {reference}' prints.",
        )
    return HubConfig(repository=place, revision=revision)


def _pinned(name: str, remote: str, reference: str) -> PinnedConfig:
    _require(name.endswith(".dir"), "has the hash of a single file; a folder's hash ends in .dir", reference)
    _require(re.fullmatch(DATASET_HASH, name), "has a hash in upper case; DVC writes hashes in lower case", reference)
    _require(remote, "is a hash without a DVC remote to fetch it from", reference)
    reachable = re.fullmatch(S3_ADDRESS, remote) or remote.startswith("/")
    _require(reachable, "has a remote that is neither s3://bucket/prefix nor an absolute path", reference)
    return PinnedConfig(hash=name, remote=remote)


def _require(condition: object, problem: str, reference: str) -> None:
    if not condition:
        raise VicurError(f"{problem}.", where=f"dataset {redacted(reference)!r}", remedy=_FORMS)
