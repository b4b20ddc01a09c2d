"""Handlers for SIGTERM and SIGINT, one for each way to respond.

- :class:`StopFlag` records SIGTERM; the work stops at the next safe point (a training, after a step).
- :class:`StopOnSigterm` raises at once, so that ``finally`` blocks clean up (a launcher, which deletes its job).
- :func:`stopped_by_signals` does so for SIGTERM and SIGINT and reports which of them it was (a run on this machine).
- :func:`forwarding` passes both on to a child process (a server), and kills one that does not end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType

from vicur.errors import VicurError
from vicur.processes.machines import NODE_TASK

EXIT_CODE = 75
"""Exit status of a process that stopped because of SIGTERM: a temporary failure (``EX_TEMPFAIL``), so that the step is retried."""

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def handling(handler: Handler, *numbers: signal.Signals) -> Iterator[None]:
    """Handle signals with ``handler`` inside the block, and restore the previous handlers afterwards."""
    # Python runs signal handlers in the main thread only and refuses to install them elsewhere.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in previous.items():
            # None is a handler that C code installed. Python cannot restore it.
            if old is not None:
                signal.signal(number, old)


_sigterms = 0


def sigterms() -> int:
    """Return how often a handler of this module has received SIGTERM in this process."""
    return _sigterms


def _count_sigterm() -> None:
    # A signal is sent to the process, not to an object.
    global _sigterms
    _sigterms += 1


def stop_error(problem: str) -> VicurError:
    """Return the retryable error of work that stopped because of SIGTERM and can resume from its last checkpoint."""
    # No person types commands on a node of a TrainJob, and this line is the last one of its log.
    on_node = os.environ.get(NODE_TASK)
    remedy = (
        "Kueue readmits a preempted job, and the pipeline's step retries one that was interrupted; both resume from the last checkpoint."
        if on_node
        else "Run the same command again to resume from the last checkpoint."
    )
    return VicurError(problem, where="training", remedy=remedy, exit_code=EXIT_CODE, retryable=True)


class Stopped(BaseException):
    """Raised by a signal handler. Not an ``Exception``: code that handles errors must not swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopFlag:
    """Record SIGTERM (an eviction, a drained node) inside a ``with`` block instead of dying from it.

    Once ``file`` exists it counts as the signal: this is how a launcher passes SIGTERM on to its workers.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._received = False
        self._stack = ExitStack()

    def __enter__(self) -> StopFlag:
        self._stack.enter_context(handling(self._record, signal.SIGTERM))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def is_set(self) -> bool:
        return self._received or (self._file is not None and self._file.exists())

    def _record(self, _number: int, _frame: FrameType | None) -> None:
        self._received = True
        _count_sigterm()
        # A second SIGTERM kills the process: a step that hangs must not make it immortal.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class StopOnSigterm:
    """Interrupt a ``with`` block at SIGTERM, and raise :func:`stop_error` once its cleanup has run.

    Raises:
        VicurError: on leaving the block, if SIGTERM interrupted it.
    """

    def __init__(self) -> None:
        self._ignore = False
        self._stack = ExitStack()

    def __enter__(self) -> StopOnSigterm:
        self._stack.enter_context(handling(self._interrupt, signal.SIGTERM))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if isinstance(error, Stopped):
            raise stop_error("stopped after SIGTERM.") from None

    def ignore_signals(self) -> None:
        self._ignore = True

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        # A second SIGTERM must not interrupt the cleanup. The platform kills what takes too long.
        _count_sigterm()
        if not self._ignore:
            self._ignore = True
            raise Stopped(number)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise :class:`Stopped` inside the block at SIGINT or SIGTERM. Later signals are ignored, so that cleanup completes."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    with handling(interrupt, *numbers):
        yield


@contextmanager
def forwarding(child: subprocess.Popen[bytes], grace: float) -> Iterator[list[int]]:
    """Send SIGTERM and SIGINT on to ``child`` inside the block. Yields a list of the signals sent so far.

    Args:
        child: a process that leads its process group.
        grace: seconds after the first signal until the group is killed.
    """
    sent: list[int] = []
    killer = threading.Timer(grace, _kill_group, (child.pid,))
    killer.daemon = True

    def forward(number: int, _frame: FrameType | None) -> None:
        # Before the start of the thread, during which another signal may arrive: a thread starts once.
        sent.append(number)
        if len(sent) == 1:
            killer.start()
        child.send_signal(number)

    with handling(forward, signal.SIGTERM, signal.SIGINT):
        try:
            yield sent
        finally:
            killer.cancel()


def _kill_group(leader: int) -> None:
    # Its members may just have ended.
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
