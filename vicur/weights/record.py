"""What a staged model is: where it comes from, and the checksum of each of its files."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from vicur.errors import VicurError
from vicur.storage.folders import file_sha256, files_below

RECORD = "vicur-model.json"
"""The record's name in the model's folder. It is written last: a folder without it is not staged."""
_SHOWN = 3
_KEPT = ("*.json", "*.safetensors", "*.txt", "*.jinja", "LICENSE*")


def is_kept(name: str) -> bool:
    """Whether a file is staged: weights as safetensors, configuration, tokenizer, license. Pickles and Python files, which can run
    code when they are read, stay where they are.
    """
    return name != RECORD and any(fnmatch(name, pattern) for pattern in _KEPT) and not name.startswith(".")


class FileRecord(BaseModel):
    """One file of a model."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Record(BaseModel):
    """A staged model."""

    model_config = ConfigDict(frozen=True)

    origin: str
    """Where it was published: a repository on the Hub, or the folder that it was first staged from. Copies keep it."""
    revision: str | None
    """Commit hash on the Hub; ``None`` for a folder."""
    files: dict[str, FileRecord]
    """Every file that is staged, by its POSIX path below the folder."""

    def write(self, folder: Path) -> None:
        """Writes the record into its model's folder."""
        (folder / RECORD).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def record_of(folder: Path, origin: str, revision: str | None) -> Record:
    """Reads every byte of what is staged of a folder."""
    files = {
        name: FileRecord(bytes=file.stat().st_size, sha256=file_sha256(file))
        for file in files_below(folder)
        if is_kept(name := file.relative_to(folder).as_posix())
    }
    return Record(origin=origin, revision=revision, files=files)


def parse_record(text: bytes, where: str) -> Record:
    """A record that was read from ``where``.

    Raises:
        VicurError: where it is none, or names a file that is not staged or not in the folder.
    """
    remedy = "Stage the model again (vicur models stage)."
    try:
        record = Record.model_validate_json(text)
    except ValidationError as error:
        raise VicurError("is no record of a staged model.", where=where, remedy=remedy) from error
    for name in record.files:
        if not is_kept(name) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise VicurError(f"names a file that no staged model has ({name}).", where=where, remedy=remedy)
    return record


def read_record(folder: Path) -> Record | None:
    """The record of a folder, if it has one.

    Raises:
        VicurError: where it cannot be understood.
    """
    try:
        return parse_record((folder / RECORD).read_bytes(), str(folder / RECORD))
    except (FileNotFoundError, NotADirectoryError):
        return None


def check(folder: Path) -> Record:
    """Reads every byte of a staged model and compares it with its record.

    Raises:
        VicurError: where the folder has no record, or differs from it.
    """
    record = read_record(folder)
    if record is None:
        raise VicurError(
            f"is not a staged model: it holds no {RECORD}.",
            where=str(folder),
            remedy="Stage it (vicur models stage), or correct the path.",
        )
    found = record_of(folder, record.origin, record.revision)
    refuse_difference(record, found, folder)
    return record


def refuse_difference(wanted: Record, found: Record, folder: Path) -> None:
    """Compares two records' files.

    Raises:
        VicurError: naming files that are missing, additional or different.
    """
    names = sorted(wanted.files.keys() | found.files.keys())
    wrong = [name for name in names if wanted.files.get(name) != found.files.get(name)]
    if wrong:
        shown = ", ".join(wrong[:_SHOWN]) + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else "")
        raise VicurError(
            f"is not what its record says: {shown} differ.",
            where=str(folder),
            remedy="Stage the model again (vicur models stage).",
            retryable=True,
        )
