"""Cues that were paid for once: one line a cue, as they come, so that an interrupted extraction goes on."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path


class KeptCues:
    """Cues by what was asked.

    Args:
        file: where they are kept; it is made with the first.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._cues = dict(_lines(file))
        if file.exists() and not file.read_bytes().endswith(b"\n"):
            self._append("\n")  # The last line was cut off: the next is to stand alone.

    def get(self, request: str) -> str | None:
        """The cue that was given for a request, if one was."""
        return self._cues.get(request)

    def keep(self, request: str, cue: str) -> None:
        """Writes a cue down before anything else is done with it. Several threads may do so at once."""
        with self._lock:
            self._cues[request] = cue
            self._append(json.dumps({"request": request, "cue": cue}, ensure_ascii=False) + "\n")

    def _append(self, text: str) -> None:
        """In one system call, so that a line is whole or the last."""
        stream = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(stream, text.encode())
        finally:
            os.close(stream)


def _lines(file: Path) -> list[tuple[str, str]]:
    """What the file holds. A line that a killed writer cut off is passed over."""
    if not file.exists():
        return []
    found = []
    for line in file.read_bytes().splitlines():
        try:
            entry = json.loads(line)
            found.append((str(entry["request"]), str(entry["cue"])))
        except (ValueError, TypeError, KeyError):
            continue
    return found
