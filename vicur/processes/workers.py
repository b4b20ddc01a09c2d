"""Run a function for many tasks in separate processes: ``for number, result in run_tasks(function, tasks, processes)``.

Tasks and results are JSON values, and nothing is pickled. Workers are forks of a *template*: a fresh interpreter without threads that has
imported the module of the function and nothing else. So the import takes the time of one, its memory is shared, and a worker costs the
same wherever it was started from. Workers and template end with the process that started them, even if that one is killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from vicur.errors import VicurError
from vicur.processes import worker_template
from vicur.processes.threads import limit_threads
from vicur.processes.worker_template import GRACE, INDEX, Function, Report, Throttled

__all__ = ["MOST_PROCESSES", "Function", "Report", "default_processes", "run_tasks", "usable_cpus"]

MOST_PROCESSES = 8
"""Processes that are used unless a number is set: each needs memory of its own."""


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use: those of its affinity, or fewer if its container has a smaller quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(count, round(int(quota) / int(period))))
    # No control group, or no quota ("max").
    except (OSError, ValueError):
        return count


def default_processes() -> int:
    """Return the number of processes to use if none is set."""
    return min(usable_cpus(), MOST_PROCESSES)


def run_tasks(
    function: Function,
    tasks: Sequence[Any],
    processes: int,
    report: Callable[[int, int], None] = lambda _number, _done: None,
) -> Iterator[tuple[int, Any]]:
    """Call a function of a module for each task, and yield the number of each task with its result as soon as it is known.

    With one process or one task, it is called in this process. Tasks start in order. A generator that is closed stops its workers.

    Args:
        report: receives the number of a task and the amount of its work that is done.

    Raises:
        VicurError: that a task raised, or if a worker was killed (retryable).
        OSError: that a task raised.
        RuntimeError: for any other exception of a task, with its traceback.
    """
    if processes <= 1 or len(tasks) <= 1:
        for number, task in enumerate(tasks):
            yield number, function(task, Throttled(partial(report, number)))
        return
    with _Template(function) as template:
        pending = iter(enumerate(tasks))
        busy: dict[Connection, _Worker] = {}
        for number, task in islice(pending, processes):
            worker = template.fork()
            worker.start(number, task)
            busy[worker.connection] = worker
        while busy:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                message = worker.receive()
                if "done" in message:
                    report(worker.task, message["done"])
                    continue
                finished = worker.task
                if (following := next(pending, None)) is None:
                    del busy[worker.connection]
                else:
                    worker.start(*following)
                yield finished, message["result"]


class _Template:
    """The template as its parent sees it. Leaving its block ends it and all its workers."""

    def __init__(self, function: Function) -> None:
        environment = dict(os.environ)
        limit_threads(environment)
        isolated = ["-P"] if sys.flags.safe_path else []
        target = f"{function.__module__}:{function.__qualname__}"
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *isolated, "-m", worker_template.__name__, str(theirs.fileno()), target],
                # Workers read the end of this pipe when this process has ended, for whatever reason.
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=environment,
            )
        self._workers: list[_Worker] = []

    def fork(self) -> _Worker:
        """Start a worker, which works once the template has imported the function."""
        ours, theirs = socket.socketpair()
        with theirs, suppress(OSError):  # of a template that has ended, which the worker reports
            socket.send_fds(self._control, [INDEX.pack(len(self._workers))], [theirs.fileno()])
        self._workers.append(_Worker(Connection(ours.detach()), partial(self._status, len(self._workers))))
        return self._workers[-1]

    def _status(self, index: int) -> int:
        """Return the exit status of a worker that has ended: negative if a signal ended it."""
        with suppress(OSError):
            self._control.send(INDEX.pack(index))
            if reply := self._control.recv(INDEX.size):
                return int(INDEX.unpack(reply)[0])
        return self._process.wait()  # the template itself has ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Idle workers end when their connections close, busy ones when the pipe does.
        for worker in self._workers:
            worker.connection.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._control.close()
        try:
            self._process.wait(2 * GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Worker:
    """A worker as its parent sees it.

    Args:
        status: returns its exit status once it has ended.
    """

    def __init__(self, connection: Connection, status: Callable[[], int]) -> None:
        self.connection = connection
        self.task = -1
        self._status = status

    def start(self, number: int, task: Any) -> None:
        self.task = number
        try:
            self.connection.send_bytes(json.dumps(task).encode())
        except OSError:
            raise self._lost() from None

    def receive(self) -> dict[str, Any]:
        """Return a message of the worker, or raise the error that it is about."""
        try:
            message: dict[str, Any] = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            raise self._lost() from None
        if "error" in message:
            raise VicurError(message["error"].pop("problem"), **message["error"])
        if "system" in message:
            raise OSError(*message["system"])
        if "traceback" in message:
            raise RuntimeError(f"a worker failed:\n{message['traceback']}")
        return message

    def _lost(self) -> VicurError:
        status = self._status()
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        return VicurError(
            f"a worker process {how}.",
            remedy="If you did not stop it, the machine probably ran out of memory (dmesg shows it): allow it more, or use fewer "
            "processes. Finished parts of the work are kept; run the same command again.",
            retryable=True,
        )
