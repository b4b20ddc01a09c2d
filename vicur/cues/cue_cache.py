"""Cues that were paid for once: one line a cue, as they come, so that an extraction that was interrupted, or is run anew, goes on.

On S3, which has no appending, they lie in batches that are written once. A process that is killed loses those of a batch that was not
sent yet.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from vicur.errors import VicurError
from vicur.storage.s3 import S3Folders, is_s3

log = logging.getLogger(__name__)

KEPT_FILE = "endpoint-cues.jsonl"
_BATCH = 256
_SECONDS = 30.0


@dataclass(frozen=True)
class CueBatches:
    """Batches of cues on S3, each named by what it holds.

    Attributes:
        folders: where; each folder is a batch, and its marker the file of cues.
    """

    folders: S3Folders

    def all(self) -> Iterator[bytes]:
        """What each batch holds.

        Raises:
            VicurError: where S3 does not answer or refuses.
        """
        for name in self.folders.names():
            yield self.folders.read_marker(name) or b""

    def add(self, content: bytes) -> None:
        """Writes one more.

        Raises:
            VicurError: where S3 does not answer or refuses.
        """
        self.folders.mark(hashlib.sha256(content).hexdigest()[:32], content)


class CueCache:
    """Cues by what was asked. Leaving it as a context sends what was not sent yet.

    Args:
        file: where they are kept on this machine; it is made with the first.
        batches: where they are sent to as well, to outlive it.
        seconds: longest time that a cue waits for others to be sent with.

    Raises:
        VicurError: where S3 does not answer or refuses.
    """

    def __init__(self, file: Path, batches: CueBatches | None = None, seconds: float = _SECONDS) -> None:
        self._file = file
        self._batches = batches
        self._seconds = seconds
        self._lock = threading.Lock()
        self._unsent: list[str] = []
        self._sent_at = time.monotonic()
        self._cues = {request: cue for batch in (batches.all() if batches else ()) for request, cue in _entries(batch)}
        if file.exists():
            self._cues.update(_entries(file.read_bytes()))
            if not file.read_bytes().endswith(b"\n"):
                self._append("\n")  # The last line was cut off: the next is to stand alone.

    @classmethod
    def at(cls, folder: Path, address: str | None) -> CueCache:
        """Those in a folder of this machine, and at an address that outlives it: another folder, or one on S3.

        Raises:
            VicurError: for an address that cannot be used.
        """
        on_s3 = address is not None and is_s3(address)
        kept = folder if address is None or on_s3 else Path(address)
        kept.mkdir(parents=True, exist_ok=True)
        return cls(kept / KEPT_FILE, CueBatches(S3Folders.at(str(address), KEPT_FILE)) if on_s3 else None)

    def __enter__(self) -> CueCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._lock:
                self._send()
        except VicurError as unsent:
            if error is None:
                raise
            log.warning("the newest cues stay on this machine: %s", unsent)

    def get(self, request: str) -> str | None:
        """The cue that was given for a request, if one was."""
        return self._cues.get(request)

    def keep(self, request: str, cue: str) -> None:
        """Writes a cue down before anything else is done with it. Several threads may do so at once.

        Raises:
            VicurError: where S3 does not answer or refuses.
        """
        line = json.dumps({"request": request, "cue": cue}, ensure_ascii=False) + "\n"
        with self._lock:
            self._cues[request] = cue
            self._append(line)
            self._unsent.append(line)
            if len(self._unsent) >= _BATCH or time.monotonic() - self._sent_at > self._seconds:
                self._send()

    def _send(self) -> None:
        if self._batches is not None and self._unsent:
            self._batches.add("".join(self._unsent).encode())
        self._unsent = []
        self._sent_at = time.monotonic()

    def _append(self, text: str) -> None:
        """In one system call, so that a line is whole or the last."""
        stream = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(stream, text.encode())
        finally:
            os.close(stream)


def _entries(content: bytes) -> Iterator[tuple[str, str]]:
    """Requests and cues. A line that a killed writer cut off is passed over."""
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            yield str(entry["request"]), str(entry["cue"])
        except (ValueError, TypeError, KeyError):
            continue
