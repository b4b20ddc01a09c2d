"""Sources of weights: a folder, an S3 address (:mod:`vicur.weights.s3`), or a repository on the Hub (:mod:`vicur.weights.hub`)."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vicur.config.model_address import ModelAddress, model_address
from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.stage.events import Events
from vicur.weights.record import Record, read_record, record_of, require_equal

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Listing:
    """The files of a model at its source.

    Attributes:
        files: sizes in bytes of the files that are installed, by name.
        skipped: names of the others, such as pickles and Python files.
    """

    files: dict[str, int]
    skipped: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(self.files.values())


@dataclass(frozen=True)
class Fetched:
    """A model that was fetched and verified. Its record is not yet written to the folder."""

    folder: Path
    record: Record
    skipped: list[str] = field(default_factory=list)


class ModelSource(Protocol):
    """A place to fetch a model from."""

    @property
    def name(self) -> str:
        """Return the default name of the model."""
        ...

    def has(self, record: Record) -> bool:
        """Check whether the source has exactly this installed model."""
        ...

    def listing(self) -> Listing:
        """Return the files of the model without fetching them, or raise an error soon if the source cannot be reached."""
        ...

    def fetch(self, work: Path, events: Events) -> Fetched:
        """Fetch the model into a folder below ``work``, which is empty or as an interrupted call left it, and verify it."""
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

    def listing(self) -> Listing:
        return Listing({name: file.bytes for name, file in self._record().files.items()})

    def fetch(self, work: Path, events: Events) -> Fetched:
        expected, folder = self._record(), work / "files"
        shutil.rmtree(folder, ignore_errors=True)
        require_space(expected.bytes, work)
        for number, name in enumerate(expected.files, start=1):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            # Not a hard link: the source's files may be changed in place later. Not their times: a record must be newer than its files.
            shutil.copyfile(self.path / name, folder / name)
            events.progress(number, len(expected.files), "files copied")
        actual = record_of(folder, expected.origin, expected.revision)
        require_equal(expected, actual, folder)
        return Fetched(folder, actual)

    def _record(self) -> Record:
        if not self.path.is_dir():
            raise _not_a_source(str(self.path))
        # The record of a staged model names its origin, which copies keep.
        return read_record(self.path) or record_of(self.path, str(self.path.resolve()), None)


def model_source(text: str, revision: str | None = None) -> ModelSource:
    """Return the source that a user named by a path, an address, or ``owner/name`` and commit hash on the Hub.

    Raises:
        VicurError: if it is none of these, or ``revision`` is not the hash of a commit.
    """
    if not text.strip():
        raise _not_a_source("an empty name")
    try:
        address = model_address(text)
        # A local folder takes precedence over a repository of the same name.
        if address is None and not Path(text).is_dir() and _REPOSITORY.fullmatch(text):
            address = model_address(f"hf://{text}@{revision}" if revision else f"hf://{text}")
    except ValueError as error:
        if "://" in text and not text.startswith(("hf://", "s3://")):
            raise _not_a_source(redacted(text)) from error
        raise VicurError(
            f"{error}.", where=redacted(text), remedy="Write a path, s3://bucket/prefix or hf://owner/name@COMMIT."
        ) from error
    if address is None:
        return FolderSource(Path(text))
    if isinstance(address, ModelAddress):
        return source_at(address)
    raise _not_a_source(text)


def source_at(address: ModelAddress) -> ModelSource:
    """Return the source at an address."""
    if address.scheme == "s3":
        from vicur.weights.s3 import S3Source

        return S3Source(address.place, address.revision)
    # huggingface_hub is slow to import.
    from vicur.weights.hub import HubSource

    return HubSource.at(address)


def require_space(missing: int, folder: Path) -> None:
    """Raise an error if ``missing`` bytes do not fit on the disk of a folder, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise VicurError(
            f"has {free / 2**30:.1f} GiB of free space, but {missing / 2**30:.1f} GiB must be downloaded.",
            where=str(folder.parent),
            remedy="Enlarge the volume, or remove models that are no longer used.",
        )


def _not_a_source(where: str) -> VicurError:
    return VicurError(
        "is neither a folder, nor an S3 address, nor a repository on the Hub.",
        where=where,
        remedy="Write a path, s3://bucket/prefix, or hf://owner/name@COMMIT.",
    )
