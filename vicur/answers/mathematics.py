"""Compare formulas with math-verify in a worker process that is killed when a comparison exceeds its deadline.

math-verify limits its time with a signal handler, which works on the main thread only and cannot interrupt C code (``9**9**9`` hangs
it). The worker instead sets a timer before each comparison and keeps the signal's default action, so the kernel ends the process
wherever it is; the next comparison starts a new worker.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import subprocess
import sys
import threading
from functools import lru_cache

from vicur.errors import VicurError
from vicur.processes.package_path import with_package

log = logging.getLogger(__name__)

# CPU time of the worker, so that results do not depend on how busy the machine is.
DEADLINE_SECONDS = 2.0


class MathWorker:
    """A process that compares formulas, started on first use. Thread-safe."""

    def __init__(self, deadline: float = DEADLINE_SECONDS) -> None:
        self.deadline = deadline
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def equal(self, gold: str, candidate: str) -> bool:
        """Return whether two formulas are equal. A comparison that exceeds the deadline counts as unequal.

        Raises:
            VicurError: if the worker cannot be started.
        """
        with self._lock:
            process = self._process if self._process is not None else self._start()
            try:
                reply = _ask(process, json.dumps([gold, candidate]))
            except BrokenPipeError:
                reply = ""
            # The worker writes nothing if it dies.
            if not reply:
                log.info(
                    "Comparing %.80r and %.80r took more than %g s of CPU time; they count as unequal",
                    gold,
                    candidate,
                    self.deadline,
                )
                self._stop()
            return reply == "true"

    def close(self) -> None:
        """Stop the worker if it is running."""
        with self._lock:
            self._stop()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "vicur.answers.math_worker", str(self.deadline)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="ascii",
            env=with_package(),
        )
        self._process = process
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            self._stop()
            raise VicurError(
                "the worker process that compares formulas did not start.",
                where="vicur.answers.math_worker",
                remedy="Run `python -c 'import math_verify'` in this environment to find out what is missing.",
            )
        return process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def forget(self) -> None:
        # Called in a forked child, which must not share the parent's worker. The lock may be held by a thread that the
        # child does not have.
        self._process = None
        self._lock = threading.Lock()


def _ask(process: subprocess.Popen[str], question: str) -> str:
    """Send one line to the worker and return its reply, empty if the worker died."""
    if process.stdin is None or process.stdout is None:
        return ""
    process.stdin.write(question + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


_worker = MathWorker()
atexit.register(_worker.close)
os.register_at_fork(after_in_child=_worker.forget)


@lru_cache(maxsize=4096)
def math_equal(gold: str, candidate: str) -> bool:
    """Return whether two short formulas are equal, using this process's shared worker. Results are cached."""
    return _worker.equal(gold, candidate)
