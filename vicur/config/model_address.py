"""Addresses of models: ``hf://owner/name@COMMIT``, ``s3://bucket/prefix`` and ``pvc://CLAIM/path``.

A model at an address is staged: fetched once to a folder that is named by its content, and read from there (:mod:`vicur.weights`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vicur.config.address import S3_ADDRESS
from vicur.errors import VicurError
from vicur.redaction import redacted

MODELS_VARIABLE = "VICUR_MODELS"
"""Environment variable with the folder that models are staged to."""

_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
_HUB = re.compile(rf"hf://(?P<place>{_REPOSITORY})(?:@(?P<revision>.*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# As in the names of container images: what follows the @ is the hash of the content.
_DIGEST = re.compile(r"(?P<place>.*)@sha256:(?P<revision>[0-9a-f]{64})")
_CLAIM = re.compile(r"pvc://(?P<claim>[a-z0-9]([-a-z0-9.]*[a-z0-9])?)/(?P<path>.+)")


@dataclass(frozen=True)
class ModelAddress:
    """The parsed address of a model that is fetched from the Hub or from S3.

    Attributes:
        place: ``owner/name`` on the Hub, or ``s3://bucket/prefix``.
        revision: commit on the Hub, or SHA-256 of the content on S3; empty for the current content of S3.
    """

    scheme: Literal["hf", "s3"]
    place: str
    revision: str

    @property
    def name(self) -> str:
        """The last part of the address: a name without a revision."""
        return self.place.rpartition("/")[2]

    @property
    def folder_name(self) -> str:
        """Name of the folder that the model is staged to."""
        return f"{self.name}@{self.revision}"

    def at(self, revision: str) -> ModelAddress:
        """Return the same address with a revision."""
        return replace(self, revision=revision)

    def __str__(self) -> str:
        if self.scheme == "hf":
            return f"hf://{self.place}@{self.revision}"
        return f"{self.place}@sha256:{self.revision}" if self.revision else self.place


@dataclass(frozen=True)
class ClaimAddress:
    """A folder on a PersistentVolumeClaim."""

    claim: str
    path: str


def model_address(text: str) -> ModelAddress | ClaimAddress | None:
    """Parse the address of a model, or return ``None`` for a folder or the name of a model that ships with this package.

    Raises:
        ValueError: if it is an address, but not one that identifies a model. The message says how to write it.
    """
    if "://" not in text:
        return None
    if text.startswith("hf://"):
        return _on_the_hub(text)
    if text.startswith("s3://"):
        return _on_s3(text)
    if text.startswith("pvc://"):
        return claim_address(text)
    scheme = redacted(text).partition("://")[0]
    raise ValueError(f"is an address with {scheme}://, but models are fetched from hf://, s3:// or pvc://")


def claim_address(text: str) -> ClaimAddress:
    """Parse ``pvc://CLAIM/path``, or raise a ``ValueError``."""
    match = _CLAIM.fullmatch(text)
    if match is None or any(part in ("", ".", "..") for part in match["path"].rstrip("/").split("/")):
        raise ValueError("is not a folder on a volume: write pvc://CLAIM/path")
    return ClaimAddress(match["claim"], match["path"].rstrip("/"))


def mounted(address: ClaimAddress, mounts: Mapping[str, Path]) -> Path:
    """Return the folder at which steps have an address on a volume, or raise an error if they do not mount that volume."""
    if address.claim not in mounts:
        known = ", ".join(mounts) or "none"
        raise VicurError(
            f"is not on a volume that the steps mount ({known}).",
            where=f"pvc://{address.claim}/{address.path}",
            remedy=f"Compile the package with --set 'cluster.data_claims=[{address.claim}]'.",
        )
    return mounts[address.claim] / address.path


def models_folder() -> Path:
    """Return the folder that models are staged to: ``VICUR_MODELS``, or one in the user's cache."""
    if configured := os.environ.get(MODELS_VARIABLE):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vicur" / "models"


def _on_the_hub(text: str) -> ModelAddress:
    match = _HUB.fullmatch(text)
    if match is None:
        raise ValueError("is not an address on the Hub: write hf://owner/name@COMMIT")
    place, revision = match["place"], match["revision"]
    if not revision or not _COMMIT.fullmatch(revision):
        # A branch or tag can be moved, and the run could not be repeated.
        given = f"names the revision {revision!r}" if revision else "names no commit"
        raise ValueError(
            f"{given}, but only the hash of a commit identifies the bytes of a model: write hf://{place}@COMMIT with the 40 hex digits "
            f"that 'vicur models pin hf://{place}{f'@{revision}' if revision else ''}' prints"
        )
    return ModelAddress("hf", place, revision)


def _on_s3(text: str) -> ModelAddress:
    digest = _DIGEST.fullmatch(text)
    place, revision = (digest["place"], digest["revision"]) if digest else (text, "")
    match = re.fullmatch(S3_ADDRESS, place)
    if match is None:
        raise ValueError("is not an S3 address: write s3://bucket/path/to/model")
    if not (match["prefix"] or "").strip("/"):
        raise ValueError("names a bucket, but not a model in it: write s3://bucket/path/to/model")
    return ModelAddress("s3", place.rstrip("/"), revision)
