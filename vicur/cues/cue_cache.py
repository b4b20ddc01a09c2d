"""Cache of cues from an endpoint, written one line per cue as they arrive, so that an interrupted extraction resumes where it stopped.

On S3, which cannot append, cues are stored in batches that are written once. A killed process loses the cues of its last unsent batch.
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

CACHE_FILE = "endpoint-cues.jsonl"
# A batch is sent when it has this many cues or this much time has passed.
_BATCH = 256
_SECONDS = 30.0


@dataclass(frozen=True)
class CueBatches:
    """Batches of cues on S3, each a folder named by the hash of its content, which is stored as the marker of the folder."""

    folders: S3Folders

    def all(self) -> Iterator[bytes]:
        """Yield the content of each batch."""
        for name in self.folders.names():
            yield self.folders.read_marker(name) or b""

    def add(self, content: bytes) -> None:
        """Write a batch."""
        self.folders.mark(hashlib.sha256(content).hexdigest()[:32], content)


class CueCache:
    """Cues by hash of their request. On exit from its context, it sends the cues that have not been sent yet.

    Raises:
        VicurError: from the constructor and all methods, if S3 does not respond or refuses a request.
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
                # A killed writer cut off the last line. Terminate it, so that the next cue starts a new line.
                self._append("\n")

    @classmethod
    def at(cls, folder: Path, address: str | None) -> CueCache:
        """Open the cache in a local folder and, if given, at a persistent address: another folder or one on S3."""
        on_s3 = address is not None and is_s3(address)
        local = folder if address is None or on_s3 else Path(address)
        local.mkdir(parents=True, exist_ok=True)
        return cls(local / CACHE_FILE, CueBatches(S3Folders.at(str(address), CACHE_FILE)) if on_s3 else None)

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
            log.warning("The newest cues could not be sent to S3 and remain on this machine only: %s", unsent)

    def get(self, request: str) -> str | None:
        """Return the cached cue of a request, if any."""
        return self._cues.get(request)

    def put(self, request: str, cue: str) -> None:
        """Store a cue. Thread-safe."""
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
        # One system call per line, so that a kill can cut off the last line only.
        stream = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(stream, text.encode())
        finally:
            os.close(stream)


def _entries(content: bytes) -> Iterator[tuple[str, str]]:
    """Parse requests and cues, skipping lines that a killed writer cut off."""
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            yield str(entry["request"]), str(entry["cue"])
        except (ValueError, TypeError, KeyError):
            continue
