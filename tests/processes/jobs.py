"""Functions for the workers in test_workers.py, which import them in processes of their own."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from vicur.errors import VicurError
from vicur.processes.workers import Report, run_tasks


def double(task: int, _report: Report) -> list[int]:
    return [2 * task, os.getpid()]


def threads_and_modules(_task: int, _report: Report) -> dict[str, Any]:
    return {"threads": os.environ["OMP_NUM_THREADS"], "modules": sorted(sys.modules)}


def fail(task: str, _report: Report) -> None:
    if task == "user":
        raise VicurError("is wrong.", where="file:row 1", remedy="Correct it.", exit_code=7, retryable=True)
    if task == "disk":
        raise OSError(errno.ENOSPC, "No space left on device", "/full")
    if task == "bug":
        raise KeyError("missing")
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def report_steps(task: int, report: Report) -> int:
    for step in range(task):
        time.sleep(0.3)
        report(step)
    return task


def note_and_sleep(task: str, _report: Report) -> None:
    Path(task).write_text(str(os.getpid()))
    time.sleep(60)


if __name__ == "__main__":
    from tests.processes import jobs

    list(run_tasks(jobs.note_and_sleep, sys.argv[1:], 2))
