"""Where weights are staged from: a folder, an address on S3, or (``vicur.weights.hub``) a repository on the Hub."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.storage.s3 import S3Folders, is_s3, split_address
from vicur.weights.record import RECORD, Record, parse_record, read_record, record_of, refuse_difference

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Source(Protocol):
    """Where a model comes from."""

    @property
    def name(self) -> str:
        """What the model is called, unless it is given another name."""
        ...

    def holds(self, record: Record) -> bool:
        """Whether a staged model is the one that this source has."""
        ...

    def fetch(self, folder: Path) -> Record:
        """Brings the model into a folder and holds it against what the source knows of its bytes.

        Args:
            folder: empty, or as an earlier call that was interrupted has left it.

        Returns:
            The record of what is in the folder now, not yet written there.

        Raises:
            VicurError: where the source does not answer or refuses, or the bytes are not its own.
        """
        ...


@dataclass(frozen=True)
class FolderSource:
    """A folder that is mounted here: a network share, or a volume with weights that were brought along."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    def holds(self, record: Record) -> bool:
        """Whether the folder has these files, to the byte."""
        return self._record().files == record.files

    def fetch(self, folder: Path) -> Record:
        """Copies the folder: its files may be changed in place one day, so none is linked."""
        wanted = self._record()
        shutil.rmtree(folder, ignore_errors=True)
        for name in wanted.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.path / name, folder / name)
        found = record_of(folder, wanted.origin, wanted.revision)
        refuse_difference(wanted, found, folder)
        return found

    def _record(self) -> Record:
        """The folder's own record, which stays the truth about its bytes; made here where it has none."""
        if not self.path.is_dir():
            raise _nowhere(str(self.path))
        return read_record(self.path) or record_of(self.path, str(self.path.resolve()), None)


@dataclass(frozen=True)
class S3Source:
    """A folder on S3 that was staged there, so that it holds a record of its bytes."""

    address: str

    @property
    def name(self) -> str:
        """Last part of the address."""
        return self.address.rstrip("/").rpartition("/")[2]

    def holds(self, record: Record) -> bool:
        """Whether the folder has these files, by its own record."""
        return self._record().files == record.files

    def fetch(self, folder: Path) -> Record:
        """Downloads the folder."""
        wanted = self._record()
        shutil.rmtree(folder, ignore_errors=True)
        self._parent().get(self.name, folder)
        found = record_of(folder, wanted.origin, wanted.revision)
        refuse_difference(wanted, found, folder)
        return found

    def _parent(self) -> S3Folders:
        return S3Folders.at(self.address.rstrip("/").rpartition("/")[0], RECORD)

    def _record(self) -> Record:
        text = self._parent().read_marker(self.name)
        if text is None:
            raise VicurError(
                f"holds no {RECORD}, so nobody can say whether its bytes are the right ones.",
                where=self.address,
                remedy="Write it there with 'vicur models stage FOLDER --into s3://...'.",
            )
        return parse_record(text, f"{self.address}/{RECORD}")


def source_of(text: str, revision: str | None = None) -> Source:
    """The source that a person names.

    Args:
        text: a path, ``s3://bucket/prefix``, or ``owner/name`` of a repository on the Hub (a folder of that name goes first).
        revision: commit hash on the Hub; needed there and of no use elsewhere.

    Raises:
        VicurError: for a text that names nothing of the three, and for a repository without a commit hash.
    """
    if is_s3(text):
        if not split_address(text)[1]:
            raise VicurError("names a bucket and no model in it.", where=text, remedy="Write s3://bucket/prefix.")
        return S3Source(text)
    if "://" in text or not text.strip():
        raise _nowhere(redacted(text) or "an empty name")
    if Path(text).is_dir() or not _REPOSITORY.fullmatch(text):
        return FolderSource(Path(text))
    from vicur.weights.hub import HubSource

    return HubSource.at(text, revision)


def _nowhere(where: str) -> VicurError:
    return VicurError(
        "is neither a folder, nor an address on S3, nor a repository on the Hub.",
        where=where,
        remedy="Correct it: a path, s3://bucket/prefix, or owner/name with --revision.",
    )
