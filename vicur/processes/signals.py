"""What a process does when the platform takes its machine away: it is told with SIGTERM, and soon killed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from vicur.errors import VicurError

EXIT_CODE = 75
"""Exit status of a process that was asked to stop: that of a failure that may pass (``EX_TEMPFAIL``)."""


@contextmanager
def on_sigterm(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, SIGTERM calls ``handler``. Outside the main thread, where Python takes no signals, it changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        # None stands for a handler that Python did not set, and cannot set again.
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def asked_to_stop(problem: str) -> VicurError:
    """The error that ends a training which was asked to stop, and which can go on from its last checkpoint."""
    return VicurError(
        problem,
        where="training",
        remedy="Give the same command again: it goes on from the last checkpoint.",
        exit_code=EXIT_CODE,
        retryable=True,
    )
