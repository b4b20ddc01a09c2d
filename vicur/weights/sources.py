"""Sources of weights: a folder, an S3 address, or a repository on the Hub (:mod:`vicur.weights.hub`)."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.storage.s3 import S3Folders, is_s3, split_address
from vicur.weights.record import RECORD, Record, parse_record, read_record, record_of, require_equal

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class ModelSource(Protocol):
    """A place to fetch a model from."""

    @property
    def name(self) -> str:
        """Return the default name of the model."""
        ...

    def has(self, record: Record) -> bool:
        """Check whether the source has exactly this installed model."""
        ...

    def fetch(self, folder: Path) -> Record:
        """Fetch the model into a folder, which is empty or as an interrupted call left it, and verify it.

        The returned record is not yet written to the folder.
        """
        ...


@dataclass(frozen=True)
class FolderSource:
    """A folder on this machine: a network share, or a volume that was brought along."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def has(self, record: Record) -> bool:
        return self._record().files == record.files

    def fetch(self, folder: Path) -> Record:
        expected = self._record()
        shutil.rmtree(folder, ignore_errors=True)
        for name in expected.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            # Not a hard link: the source's files may be changed in place later.
            shutil.copy2(self.path / name, folder / name)
        actual = record_of(folder, expected.origin, expected.revision)
        require_equal(expected, actual, folder)
        return actual

    def _record(self) -> Record:
        if not self.path.is_dir():
            raise _not_a_source(str(self.path))
        # The record of a staged model names its origin, which copies keep.
        return read_record(self.path) or record_of(self.path, str(self.path.resolve()), None)


@dataclass(frozen=True)
class S3Source:
    """A folder on S3 that ``vicur models stage`` wrote, so that its record lists its bytes."""

    address: str

    @property
    def name(self) -> str:
        return self.address.rstrip("/").rpartition("/")[2]

    def has(self, record: Record) -> bool:
        return self._record().files == record.files

    def fetch(self, folder: Path) -> Record:
        expected = self._record()
        shutil.rmtree(folder, ignore_errors=True)
        self._parent().get(self.name, folder)
        actual = record_of(folder, expected.origin, expected.revision)
        require_equal(expected, actual, folder)
        return actual

    def _parent(self) -> S3Folders:
        return S3Folders.at(self.address.rstrip("/").rpartition("/")[0], RECORD)

    def _record(self) -> Record:
        text = self._parent().read_marker(self.name)
        if text is None:
            raise VicurError(
                f"has no {RECORD}, so its files cannot be verified.",
                where=self.address,
                remedy="Upload the model with 'vicur models stage FOLDER --into s3://...'.",
            )
        return parse_record(text, f"{self.address}/{RECORD}")


def model_source(text: str, revision: str | None = None) -> ModelSource:
    """Return the source that a user named by a path, ``s3://bucket/prefix``, or ``owner/name`` and commit hash on the Hub."""
    if is_s3(text):
        if not split_address(text)[1]:
            raise VicurError(
                "names a bucket, but not a model in it.", where=text, remedy="Write s3://bucket/path/to/model."
            )
        return S3Source(text)
    if "://" in text or not text.strip():
        raise _not_a_source(redacted(text) or "an empty name")
    # A local folder takes precedence over a repository of the same name.
    if Path(text).is_dir() or not _REPOSITORY.fullmatch(text):
        return FolderSource(Path(text))
    # huggingface_hub is slow to import.
    from vicur.weights.hub import HubSource

    return HubSource.at(text, revision)


def _not_a_source(where: str) -> VicurError:
    return VicurError(
        "is neither a folder, nor an S3 address, nor a repository on the Hub.",
        where=where,
        remedy="Write a path, s3://bucket/prefix, or owner/name with --revision.",
    )
