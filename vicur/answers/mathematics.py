"""Asks math-verify whether two formulas are equal, in a worker process that a deadline ends.

math-verify limits its time with a signal handler, which works on the main thread only and waits while C code computes
(``9**9**9`` hangs it). Here a worker of its own sets a timer before each question and keeps the signal's default
action: the system ends the process, whatever it is in. The next question starts a new worker. The timer counts the
worker's own CPU time, so that what is found equal does not depend on how busy the machine is.
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

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 5.0


class MathWorker:
    """A process that compares formulas, started at the first question. Threads may share it.

    Args:
        deadline: seconds of CPU time that a question may take.
    """

    def __init__(self, deadline: float = DEADLINE_SECONDS) -> None:
        self.deadline = deadline
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def equal(self, gold: str, candidate: str) -> bool:
        """Whether ``candidate`` is the same expression as ``gold``; ``False`` also where that cannot be told in time.

        Raises:
            VicurError: where the worker cannot be started.
        """
        with self._lock:
            process = self._process if self._process is not None else self._start()
            try:
                reply = _ask(process, json.dumps([gold, candidate]))
            except BrokenPipeError:
                reply = ""
            if not reply:
                log.info(
                    "comparing %.80r and %.80r took more than %g s of CPU time: not equal",
                    gold,
                    candidate,
                    self.deadline,
                )
                self._stop()
            return reply == "true"

    def close(self) -> None:
        """Ends the worker, if one runs."""
        with self._lock:
            self._stop()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "vicur.answers.math_worker", str(self.deadline)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="ascii")
        self._process = process
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            self._stop()
            raise VicurError(
                "the worker that compares formulas does not start.",
                where="vicur.answers.math_worker",
                remedy="Run `python -c 'import math_verify'` in this environment to see what is missing.",
            )
        return process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def forget(self) -> None:
        """Leaves the worker to the parent: a forked child must not share its pipes."""
        self._process = None
        self._lock = threading.Lock()


def _ask(process: subprocess.Popen[str], question: str) -> str:
    """One line to the worker and the line that it answers; empty where it ended instead."""
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
    """Whether two short formulas are equal by math-verify, in the process's own worker. Answers are remembered."""
    return _worker.equal(gold, candidate)
