"""The record of an installed model: its origin, and the checksum of each of its files."""

from __future__ import annotations

import hashlib
import json
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from vicur.errors import VicurError
from vicur.storage.folders import file_sha256, files_below
from vicur.wording import listed

RECORD = "vicur-model.json"  # written last: a folder without it is not installed
_SHOWN = 3  # files in an error message
_MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja", "LICENSE*")
_STAGE_AGAIN = "Stage the model again (vicur models stage)."


def is_model_file(name: str) -> bool:
    """Check whether a file is installed: safetensors weights, configuration, tokenizer, license."""
    # Pickles and Python files are left out: loading them can run code.
    return name != RECORD and any(fnmatch(name, pattern) for pattern in _MODEL_FILES) and not name.startswith(".")


class FileRecord(BaseModel):
    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Record(BaseModel):
    """Origin and files of an installed model."""

    model_config = ConfigDict(frozen=True)

    origin: str  # repository on the Hub, or the folder that the model was first staged from; copies keep it
    revision: str | None  # commit hash on the Hub, or hash of S3's listing; None for a folder
    files: dict[str, FileRecord]  # by POSIX path relative to the model's folder

    @property
    def digest(self) -> str:
        """SHA-256 of the names and checksums of the files, which identifies the content wherever it is stored."""
        names = sorted((name, file.bytes, file.sha256) for name, file in self.files.items())
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files.values())

    def write(self, folder: Path) -> None:
        (folder / RECORD).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def record_of(folder: Path, origin: str, revision: str | None) -> Record:
    """Compute the record of a folder by reading every byte of its model files."""
    files = {
        name: FileRecord(bytes=file.stat().st_size, sha256=file_sha256(file))
        for file in files_below(folder)
        if is_model_file(name := file.relative_to(folder).as_posix())
    }
    return Record(origin=origin, revision=revision, files=files)


def parse_record(text: bytes, where: str) -> Record:
    """Parse a record that was read from ``where``."""
    try:
        record = Record.model_validate_json(text)
    except ValidationError as error:
        raise VicurError("is not the record of a staged model.", where=where, remedy=_STAGE_AGAIN) from error
    # A record from a bucket or share is not trusted: its paths must stay in the folder, and its files must not run code.
    for name in record.files:
        if not is_model_file(name) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise VicurError(
                f"lists {name!r}, which is not a file of a staged model.", where=where, remedy=_STAGE_AGAIN
            )
    return record


def read_record(folder: Path) -> Record | None:
    """Read the record of a folder, or return ``None`` if it has none."""
    try:
        return parse_record((folder / RECORD).read_bytes(), str(folder / RECORD))
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_unchanged(folder: Path, record: Record) -> bool:
    """Compare sizes and modification times with a folder's record, without reading the files. :func:`check` reads every byte."""
    try:
        # The record is written last, so a file that is newer was changed afterwards.
        written = (folder / RECORD).stat().st_mtime_ns
        stats = [((folder / name).stat(), file.bytes) for name, file in record.files.items()]
    except (FileNotFoundError, NotADirectoryError):
        return False
    return all(stat.st_size == size and stat.st_mtime_ns <= written for stat, size in stats)


def check(folder: Path) -> Record:
    """Verify an installed model by reading every byte of it, and return its record.

    Raises:
        VicurError: if the folder has no record, or differs from it.
    """
    record = read_record(folder)
    if record is None:
        raise VicurError(
            f"is not a staged model: it has no {RECORD}.",
            where=str(folder),
            remedy="Stage it (vicur models stage), or correct the path.",
        )
    require_equal(record, record_of(folder, record.origin, record.revision), folder)
    return record


def require_equal(expected: Record, actual: Record, folder: Path) -> None:
    """Raise an error that names the files in which two records differ."""
    names = sorted(expected.files.keys() | actual.files.keys())
    wrong = [name for name in names if expected.files.get(name) != actual.files.get(name)]
    if wrong:
        raise VicurError(
            f"does not match its record, which lists other bytes for {listed(wrong, _SHOWN)}.",
            where=str(folder),
            remedy=_STAGE_AGAIN,
            retryable=True,
        )
