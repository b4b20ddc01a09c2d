"""Ends what is being done when this process is asked to stop, so that it can be cleaned up in order."""

from __future__ import annotations

from contextlib import ExitStack
from types import FrameType, TracebackType

from vicur.processes.signals import asked_to_stop, on_sigterm


class _Stopped(BaseException):
    """Nothing that handles errors is to take it for one."""


class Stopping:
    """Inside, SIGTERM ends what is being done, and leaving it raises the error of a step that was asked to stop.

    Later signals are passed over while things are cleaned up: the platform kills what takes too long. Outside the main thread it does
    nothing.
    """

    def __init__(self) -> None:
        self._over = False
        self._handled = ExitStack()

    def __enter__(self) -> Stopping:
        self._handled.enter_context(on_sigterm(self._stop))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handled.close()
        if isinstance(error, _Stopped):
            raise asked_to_stop("was asked to stop (SIGTERM).") from None

    def no_more(self) -> None:
        """From here on, signals are passed over."""
        self._over = True

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._over:
            self._over = True
            raise _Stopped
