"""World that end with the one that started them, however that ends."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lifeline(file: Path) -> Iterator[None]:
    """Inside, those that :func:`watch` the file know that this process lives: it holds a lock, which the system takes back when it ends."""
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def watch(file: Path, end: Callable[[], object]) -> None:
    """Calls ``end`` in a thread of its own once nobody holds the :func:`lifeline` any more: there is no one left to work for."""

    def wait() -> None:
        with file.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            end()

    threading.Thread(target=wait, daemon=True).start()
