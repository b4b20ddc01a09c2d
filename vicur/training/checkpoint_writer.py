"""Write checkpoints in the background, after a number of steps or minutes. The training waits only for the copy of its state.

A step of Kubeflow Pipelines is killed without a signal that Python could handle, so what it loses depends on the time since its last
checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from vicur.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)

MAX_SHARE = 0.02
"""Largest share of the time for checkpoints by time."""


class CheckpointWriter:
    """Context manager that writes one checkpoint at a time in a thread. Leaving it waits for the write that has begun.

    Args:
        save: writes a checkpoint durably.
        minutes: time between checkpoints; 0 for none by time.
    """

    def __init__(self, save: Callable[[Checkpoint], object], minutes: float) -> None:
        self._save = save
        self._seconds = minutes * 60
        self._begun = time.monotonic()  # when the last checkpoint began
        self._cost = 0.0
        self._is_stretched = False
        self._last_step = -1
        self._write: Future[tuple[int, float]] | None = None
        self._blocked = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        # The training's own error is more important than that of a write.
        if kind is None:
            self.wait()

    @property
    def is_due(self) -> bool:
        """Whether the time for a checkpoint has come. Not while one is being written: its cost is not known yet."""
        if not self._seconds or self._write is not None:
            return False
        return time.monotonic() - self._begun >= self._interval()

    def write(self, take: Callable[[], Checkpoint]) -> None:
        """Begin to write the checkpoint that ``take`` copies from the training, once the one before is complete.

        Raises:
            OSError, VicurError: if the one before could not be written.
        """
        # Not earlier: each copy takes as much memory as the state itself.
        self.wait()
        started = self._begun = time.monotonic()
        checkpoint = take()
        self._blocked = time.monotonic() - started
        self._write = self._thread.submit(self._run, checkpoint)

    def last_step(self) -> int:
        """Return the step of the last complete checkpoint; -1 if there is none.

        Raises:
            OSError, VicurError: if a checkpoint could not be written.
        """
        if self._write is not None and self._write.done():
            self.wait()
        return self._last_step

    def wait(self) -> None:
        """Wait until the checkpoint that has begun is complete.

        Raises:
            OSError, VicurError: if it could not be written.
        """
        write, self._write = self._write, None
        if write is not None:
            self._last_step, seconds = write.result()
            self._cost = self._blocked + seconds

    def _run(self, checkpoint: Checkpoint) -> tuple[int, float]:
        # Processor time, because waiting for a disk or S3 does not slow the training down.
        started = time.thread_time()
        self._save(checkpoint)
        return checkpoint.progress.step, time.thread_time() - started

    def _interval(self) -> float:
        least = self._cost / MAX_SHARE
        if least > self._seconds and not self._is_stretched:
            self._is_stretched = True
            log.info(
                "A checkpoint costs %.1f s, so there is one every %.1f minutes instead of %.4g: at most %.0f %% of the time.",
                self._cost,
                least / 60,
                self._seconds / 60,
                100 * MAX_SHARE,
            )
        return max(self._seconds, least)
