"""Weights in a folder on S3: one that ``vicur models stage`` wrote, with checksums, or one that was uploaded by other means."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from vicur.data.fetch import RemoteFile, fetch
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.storage.object_store import Objects, StoredObject, objects_at
from vicur.weights.record import RECORD, Record, is_model_file, parse_record, record_of
from vicur.weights.sources import Fetched, Listing, require_space

_LARGEST_RECORD = 16 << 20


@dataclass(frozen=True)
class _Content:
    """The current content of the folder: what S3 lists, and the checksums of its record if it has one."""

    objects: Objects
    stored: dict[str, StoredObject]  # files that are installed, by name
    skipped: list[str]
    record: Record | None

    @property
    def digest(self) -> str:
        """SHA-256 that changes with the content."""
        if self.record is not None:
            return self.record.digest
        listed = [(each.key, each.size, each.version) for each in self.stored.values()]
        return hashlib.sha256(json.dumps(sorted(listed)).encode()).hexdigest()

    def files(self) -> list[RemoteFile]:
        checksums = {} if self.record is None else self.record.files
        return [
            RemoteFile(
                name, name, size=each.size, version=each.version, sha256=getattr(checksums.get(name), "sha256", None)
            )
            for name, each in self.stored.items()
        ]


@dataclass(frozen=True)
class S3Source:
    """A folder on S3."""

    address: str
    digest: str = ""  # of the content that is meant; empty for the current content

    @property
    def name(self) -> str:
        return self.address.rstrip("/").rpartition("/")[2]

    def has(self, record: Record) -> bool:
        return (self.digest or self.current_digest()) in (record.digest, record.revision)

    def current_digest(self) -> str:
        """Return the SHA-256 that identifies the current content."""
        return self._content().digest

    def listing(self) -> Listing:
        content = self._content(impatient=True)
        return Listing({name: each.size for name, each in content.stored.items()}, content.skipped)

    def fetch(self, work: Path, events: Events) -> Fetched:
        content = self._content()
        if self.digest not in ("", content.digest):
            raise VicurError(
                f"has changed: its content is sha256:{content.digest} now.",
                where=f"{self.address}@sha256:{self.digest}",
                remedy="Start a new run, which takes the current content, or upload the previous one again.",
            )
        files = content.files()
        require_space(sum(file.size or 0 for file in files if not (work / "files" / file.path).is_file()), work)
        folder = fetch(files, content.objects, work, events)
        # Every file was verified if there are checksums.
        record = content.record or record_of(folder, self.address, content.digest)
        return Fetched(folder, record, content.skipped)

    def _content(self, *, impatient: bool = False) -> _Content:
        objects = objects_at(self.address, impatient=impatient)
        stored = {each.key: each for each in objects.all()}
        if not stored:
            raise VicurError("is empty.", where=self.address, remedy="Correct the address, or upload the model.")
        record = None
        if RECORD in stored:
            text = objects.read(RECORD, _LARGEST_RECORD)
            record = parse_record(text or b"", f"{self.address}/{RECORD}")
            missing = sorted(record.files.keys() - stored.keys())
            if missing:
                raise VicurError(
                    f"has no {missing[0]}, which its record lists.",
                    where=self.address,
                    remedy="Upload the model again with 'vicur models stage FOLDER --into s3://...'.",
                )
        installed = record.files if record is not None else filter(is_model_file, stored)
        chosen = {name: stored[name] for name in installed}
        return _Content(objects, chosen, sorted(stored.keys() - chosen.keys() - {RECORD}), record)
