"""A dataset in one line, for forms and command lines that have room for no section.

| text | dataset |
|---|---|
| (empty) | what is configured already |
| ``digit-scenes`` | the embedded digit scenes |
| ``<md5>.dir@s3://bucket/prefix`` | a folder in DVC's remote, by its hash |
| ``<md5>.dir@/mnt/dvc`` | the same in a remote that is mounted |
| ``s3://bucket/prefix`` | a folder on S3 |
| ``/mnt/folder`` | a folder that is mounted |
"""

from __future__ import annotations

import re
from pathlib import Path

from vicur.config.address import DATASET_HASH, S3_ADDRESS
from vicur.config.data import DataConfig, DigitScenesConfig, FolderConfig, PinnedConfig, RemoteConfig
from vicur.errors import VicurError
from vicur.redaction import redacted

_DIGIT_SCENES = "digit-scenes"
_FORMS = f"Write {_DIGIT_SCENES}, <md5>.dir@s3://bucket/dvc (a hash, and DVC's remote that holds it), s3://bucket/folder or /mnt/folder."


def dataset_reference(text: str, configured: DataConfig | None = None) -> DataConfig:
    """The section ``data`` that a reference stands for. Nothing is looked up.

    Args:
        text: the reference; white space around it does not count.
        configured: what an empty one stands for; the embedded digit scenes where it is left out.

    Raises:
        VicurError: for a text that is no reference, with what is wrong and how one is written.
    """
    reference = text.strip()
    if not reference:
        return DigitScenesConfig() if configured is None else configured
    if reference in (_DIGIT_SCENES, "digit_scenes"):
        return DigitScenesConfig()
    name, separator, remote = reference.partition("@")
    if re.fullmatch(r"[0-9a-fA-F]{32}(\.dir)?", name):
        return _pinned(name, remote if separator else "", reference)
    if reference.startswith("s3://"):
        _require(re.fullmatch(S3_ADDRESS, reference), "is no address on S3", reference)
        return RemoteConfig(uri=reference)
    scheme = re.match(r"[a-z][a-z0-9+.-]*:", reference, re.IGNORECASE)
    _require(
        scheme is None, f"is an address with {scheme and scheme[0]}, and datasets are fetched from S3 only", reference
    )
    _require(reference.startswith("/"), "is neither a dataset's name nor an absolute path", reference)
    return FolderConfig(path=Path(reference))


def _pinned(name: str, remote: str, reference: str) -> PinnedConfig:
    _require(name.endswith(".dir"), "has a hash of a single file, and a folder's hash ends in .dir", reference)
    _require(re.fullmatch(DATASET_HASH, name), "has a hash in capitals, and DVC writes small letters", reference)
    _require(remote, "is a hash alone, and does not say which remote of DVC holds it", reference)
    reachable = re.fullmatch(S3_ADDRESS, remote) or remote.startswith("/")
    _require(reachable, "has a remote that is neither s3://bucket/prefix nor an absolute path", reference)
    return PinnedConfig(hash=name, remote=remote)


def _require(condition: object, problem: str, reference: str) -> None:
    if not condition:
        raise VicurError(f"{problem}.", where=f"dataset {redacted(reference)!r}", remedy=_FORMS)
