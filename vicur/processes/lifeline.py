"""Processes that end with the process that started them, even if that one is killed."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lifeline(file: Path) -> Iterator[None]:
    """Hold a lock on ``file`` inside the block, for other processes to :func:`watch`."""
    with file.open("w") as stream:
        # The kernel releases the lock when the process ends, for whatever reason.
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def watch(file: Path, end: Callable[[], object]) -> None:
    """Call ``end`` in a background thread once the :func:`lifeline` is released."""

    def wait() -> None:
        with file.open() as stream:
            # Blocks for as long as the other process lives.
            fcntl.flock(stream, fcntl.LOCK_SH)
            end()

    threading.Thread(target=wait, daemon=True).start()
