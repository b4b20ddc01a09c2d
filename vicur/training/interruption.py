"""Stops a training between two steps when the platform takes its machine away."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType

from vicur.processes.signals import on_sigterm


class Interruption:
    """Takes note of SIGTERM (an eviction, a node that is drained) while it is entered, instead of dying of it.

    A second SIGTERM ends the process at once, as it would without this. Outside the main thread it takes note of none.

    Args:
        file: one that stands for the signal when it appears: how the process that was told tells others.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._told = False
        self._handled = ExitStack()

    def __enter__(self) -> Interruption:
        self._handled.enter_context(on_sigterm(self._take_note))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handled.close()

    @property
    def asked(self) -> bool:
        """Whether the training is to stop."""
        return self._told or (self._file is not None and self._file.exists())

    def _take_note(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
