"""Ends what is being done when this process is asked to stop, so that it can be cleaned up in order."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from vicur.errors import VicurError
from vicur.training.interruption import EXIT_CODE


class _Stopped(BaseException):
    """Nothing that handles errors is to take it for one."""


class Stopping:
    """Inside, SIGTERM ends what is being done, and leaving it raises the error of a step that was asked to stop.

    Later signals are passed over while things are cleaned up: the platform kills what takes too long. Outside the main thread, where Python
    takes no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._over = False
        self._before: signal.Handlers | object = None

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)  # type: ignore[arg-type]
        if isinstance(error, _Stopped):
            raise VicurError(
                "was asked to stop (SIGTERM).",
                where="training",
                remedy="Give the same command again: it goes on from the last checkpoint.",
                exit_code=EXIT_CODE,
                retryable=True,
            ) from None

    def no_more(self) -> None:
        """From here on, signals are passed over."""
        self._over = True

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._over:
            self._over = True
            raise _Stopped
