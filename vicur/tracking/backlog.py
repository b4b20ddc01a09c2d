"""Metrics that wait to be sent to MLflow: the oldest in memory, the others in a file, so that an outage does not fill the memory."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from vicur.errors import VicurError
from vicur.storage.folders import new_file

log = logging.getLogger(__name__)

_IN_MEMORY = 2_000


@dataclass(frozen=True)
class Record:
    """Metrics of one step. ``once`` marks those of a training, which the run may already have from an earlier process."""

    step: int
    time: int  # milliseconds since the epoch
    values: dict[str, float]
    once: bool = False


class Backlog:
    """A queue of records, first in, first out. Records that are lost because of the disk are counted in ``lost``.

    Args:
        file: for the records that memory has no room for. It is deleted once all of them have been read. Those that an earlier attempt
            at the same work left there come first.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lost = 0
        self._memory: deque[Record] = deque()
        self._in_file = 0  # unread lines
        self._start = self._end = 0  # offsets of the unread lines
        self._find_rest()

    def __len__(self) -> int:
        return len(self._memory) + self._in_file

    def add(self, record: Record) -> None:
        """Append a record."""
        if not self._in_file and len(self._memory) < _IN_MEMORY:
            self._memory.append(record)
        else:
            self._append(record)

    def oldest(self, count: int) -> list[Record]:
        """Return up to ``count`` of the oldest records."""
        if not self._memory and self._in_file:
            self._read()
        return list(islice(self._memory, count))

    def discard(self, count: int) -> None:
        """Remove as many of the oldest records, which :meth:`oldest` has returned."""
        for _ in range(count):
            self._memory.popleft()

    def save(self) -> None:
        """Move all records to the file, in order."""
        try:
            with new_file(self.file) as partial, partial.open("wb") as stream:
                stream.writelines(map(_line, self._memory))
                if self._in_file:
                    with self.file.open("rb") as rest:
                        rest.seek(self._start)
                        shutil.copyfileobj(rest, stream)
        except (OSError, VicurError) as error:
            self._lose(len(self._memory), error)
        else:
            self._in_file += len(self._memory)
            self._start, self._end = 0, self.file.stat().st_size
        self._memory.clear()

    def _find_rest(self) -> None:
        with suppress(OSError), self.file.open("rb") as stream:
            for line in stream:
                # A process that was killed may have written half of the last line.
                if line.endswith(b"\n"):
                    self._in_file += 1
                    self._end += len(line)
        if self._in_file:
            with suppress(OSError):
                os.truncate(self.file, self._end)

    def _append(self, record: Record) -> None:
        line = _line(record)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab" if self._in_file else "wb") as stream:
                stream.write(line)
        except OSError as error:
            self._lose(1, error)
            # The disk may have been full after half of the line.
            with suppress(OSError):
                os.truncate(self.file, self._end)
            return
        self._in_file += 1
        self._end += len(line)

    def _lose(self, count: int, error: Exception) -> None:
        if not self.lost:
            log.warning("Metrics for MLflow are lost: %s cannot be written (%s).", self.file, error)
        self.lost += count

    def _read(self) -> None:
        try:
            with self.file.open("rb") as stream:
                stream.seek(self._start)
                for line in islice(stream, _IN_MEMORY):
                    self._memory.append(Record(**json.loads(line)))
                    self._in_file -= 1
                    self._start += len(line)
        except (OSError, ValueError, TypeError) as error:
            log.warning(
                "%d records of metrics for MLflow are lost: %s is damaged (%s).", self._in_file, self.file, error
            )
            self.lost += self._in_file
            self._in_file = 0
        if not self._in_file:
            self._start = self._end = 0
            with suppress(OSError):
                self.file.unlink()


def _line(record: Record) -> bytes:
    return json.dumps(asdict(record)).encode() + b"\n"
