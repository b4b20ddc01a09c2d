"""Stops a training between two steps when the platform takes its machine away."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType

from vicur.errors import VicurError

EXIT_CODE = 75
"""Exit status of a training that was asked to stop: that of a failure that may pass (``EX_TEMPFAIL``)."""


class Interruption:
    """Takes note of SIGTERM (an eviction, a node that is drained) while it is entered, instead of dying of it.

    A second SIGTERM ends the process at once, as it would without this. Outside the main thread, where Python takes no signals, it does
    nothing.

    Args:
        file: one that stands for the signal when it appears: how the process that was told tells others.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._told = False
        self._before: signal.Handlers | object = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._take_note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)  # type: ignore[arg-type]

    @property
    def asked(self) -> bool:
        """Whether the training is to stop."""
        return self._told or (self._file is not None and self._file.exists())

    def _take_note(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def interrupted(step: int, steps: int) -> VicurError:
    """The error that ends a training which was asked to stop and has written its checkpoint."""
    return VicurError(
        f"was asked to stop (SIGTERM) and did, at step {step} of {steps}, with a checkpoint.",
        where="training",
        remedy="Give the same command again: it goes on from there.",
        exit_code=EXIT_CODE,
        retryable=True,
    )
