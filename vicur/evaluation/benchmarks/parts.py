"""Answers of an unfinished run: in a folder that the processes of a run share, and at a durable address for other machines."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock
from pydantic import ValidationError

from vicur.errors import VicurError
from vicur.evaluation.benchmarks.answers import Answer, AnswerRecord, write_answers
from vicur.storage.folders import new_file, new_folder, unwritable
from vicur.storage.s3 import S3Folders, is_s3
from vicur.wording import listed

_IDENTITY = "identity.json"
_BATCH = "answers.jsonl"


class KeptAnswers(Protocol):
    """Batches of answers at a durable address."""

    def all(self) -> Iterator[bytes]:
        """Yield the content of each batch."""
        ...

    def add(self, content: bytes) -> None:
        """Write a batch."""
        ...


@dataclass(frozen=True)
class _InFolder:
    folder: Path

    def all(self) -> Iterator[bytes]:
        for file in sorted(self.folder.glob("*.jsonl")):
            yield file.read_bytes()

    def add(self, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with new_file(self.folder / f"{_name(content)}.jsonl") as partial:
            partial.write_bytes(content)


@dataclass(frozen=True)
class _OnS3:
    folders: S3Folders

    def all(self) -> Iterator[bytes]:
        for name in self.folders.names():
            yield self.folders.read_marker(name) or b""

    def add(self, content: bytes) -> None:
        self.folders.mark(_name(content), content)


def kept_answers(address: str) -> KeptAnswers:
    """Return the answers below a folder or an address on S3."""
    return _OnS3(S3Folders.at(address, _BATCH)) if is_s3(address) else _InFolder(Path(address))


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


class Parts:
    """Answers of an unfinished run: one file per process with a line per answer, next to what they depend on."""

    def __init__(self, output: Path, record: AnswerRecord, kept: str | None = None) -> None:
        self._kept = kept_answers(kept) if kept else None
        self._folder = output.with_name(f"{output.name}.parts")
        self._record = record
        identity = self._folder / _IDENTITY
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / "lock"):
                if not identity.exists():
                    identity.write_text(record.model_dump_json(), encoding="utf-8")
                found = json.loads(identity.read_text(encoding="utf-8"))
                self._restore()
        except OSError as error:
            raise unwritable(output, error) from error
        except ValueError:
            found = {}
        mine = record.model_dump(mode="json")
        if found != mine:
            differs = [name for name in mine if not isinstance(found, dict) or found.get(name) != mine[name]]
            raise VicurError(
                f"contains answers of a run with another {listed(differs, shown=3)}.",
                where=str(self._folder),
                remedy="Delete the folder, or name another output.",
            )

    def _restore(self) -> None:
        """Copy the answers that another machine has kept."""
        restored = self._folder / "kept.jsonl"
        if self._kept is not None and not restored.exists():
            with new_file(restored) as partial:
                partial.write_bytes(b"\n".join(self._kept.all()))

    def read(self) -> dict[int, Answer]:
        """Return the answers by their row. A line that a killed process left unfinished is ignored."""
        found: dict[int, Answer] = {}
        for file in sorted(self._folder.glob("*.jsonl")):
            with file.open(encoding="ascii", errors="replace") as lines:
                for line in lines:
                    try:
                        row, values = json.loads(line)
                        found[int(row)] = Answer.model_validate(values)
                    except (ValueError, TypeError, ValidationError):
                        continue
        return found

    def add(self, number: int, count: int, answers: dict[int, Answer]) -> None:
        """Append answers of the shard ``number`` of ``count``."""
        # A line of its own: a killed process may have left an unfinished one. Escaped, because half a character is no UTF-8.
        lines = "\n".join(json.dumps([row, each.model_dump()]) for row, each in answers.items())
        with (self._folder / f"{number}-of-{count}.jsonl").open("a", encoding="ascii") as file:
            file.write(f"\n{lines}\n")
        if self._kept is not None:
            self._kept.add(lines.encode("ascii"))

    def join(self, rows: int, output: Path) -> dict[int, Answer]:
        """Write the output if all rows are answered, and remove the parts. Returns the answers that there are."""
        with FileLock(self._folder / "lock"):
            found = self.read()
            if len(found) < rows:
                return found
            with new_folder(output) as partial:
                write_answers([found[row] for row in range(rows)], self._record, partial)
        shutil.rmtree(self._folder, ignore_errors=True)
        return found


def answered_so_far(output: Path) -> int:
    """Return the number of answers in the parts of an unfinished output; answers that several files have count several times."""
    files = output.with_name(f"{output.name}.parts").glob("*.jsonl")
    return sum(line.startswith(b"[") for file in files for line in file.read_bytes().splitlines())
