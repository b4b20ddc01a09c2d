"""Run a function for many tasks in separate processes: ``for number, result in run_tasks(function, tasks, processes)``.

Tasks and results are JSON values, and nothing is pickled. Each worker is a fresh interpreter that imports the module of the function and
nothing else, so it costs the memory of that module, wherever it was started from. A worker ends with the process that started it, even
if that one is killed.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from vicur.errors import VicurError
from vicur.processes.threads import limit_threads

Report = Callable[[int], None]
"""Called by a running task with the amount of its work that is done so far."""
Function = Callable[[Any, Report], Any]
"""A function of a module: a task and where to report progress -> a result."""

# Seconds between two messages of a task about its progress.
_REPORT_SECONDS = 0.5
# A worker that is idle ends at once when its connection closes. A busy one gets SIGTERM.
_GRACE = 5.0
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
            yield number, function(task, _Throttled(partial(report, number)))
        return
    workers: list[_Worker] = []
    try:
        pending = iter(enumerate(tasks))
        for number, task in pending:
            workers.append(_Worker(function))
            workers[-1].start(number, task)
            if len(workers) == processes:
                break
        busy = {worker.connection: worker for worker in workers}
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
    finally:
        _end(workers)


class _Worker:
    """A worker as its parent sees it."""

    def __init__(self, function: Function) -> None:
        ours, theirs = socket.socketpair()
        environment = dict(os.environ)
        limit_threads(environment)
        isolated = ["-P"] if sys.flags.safe_path else []
        target = f"{function.__module__}:{function.__qualname__}"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *isolated, "-m", __name__, str(theirs.fileno()), target],
                # The worker reads the end of this pipe when this process has ended, for whatever reason.
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=environment,
            )
        self.connection = Connection(ours.detach())
        self.task = -1

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
        status = self._process.wait()
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        return VicurError(
            f"a worker process {how}.",
            remedy="If you did not stop it, the machine probably ran out of memory (dmesg shows it): allow it more, or use fewer "
            "processes. Finished parts of the work are kept; run the same command again.",
            retryable=True,
        )

    def close(self) -> None:
        self.connection.close()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def end(self, deadline: float) -> None:
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _end(workers: Sequence[_Worker]) -> None:
    # Closing the pipe ends a worker, even a busy one.
    for worker in workers:
        worker.close()
    deadline = time.monotonic() + _GRACE
    for worker in workers:
        worker.end(deadline)


class _Throttled:
    """Passes on progress, but not more often than somebody can read it."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self._report = report
        self._last = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last >= _REPORT_SECONDS:
            self._last = now
            self._report(done)


def serve(connection: Connection, function: Function) -> None:
    """Run the tasks that arrive on a connection until it is closed."""

    def send(message: dict[str, Any]) -> None:
        connection.send_bytes(json.dumps(message).encode())

    while True:
        try:
            task = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            result = function(task, _Throttled(lambda done: send({"done": done})))
        except BaseException as error:  # noqa: BLE001 (the parent raises it)
            send(_failure(error))
            return
        send({"result": result})


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, VicurError):
        names = ("problem", "where", "remedy", "exit_code", "retryable")
        return {"error": {name: getattr(error, name) for name in names}}
    if isinstance(error, OSError) and error.errno in errno.errorcode:
        file = None if error.filename is None else os.fsdecode(error.filename)
        return {"system": [error.errno, error.strerror, file]}
    return {"traceback": "".join(traceback.format_exception(error))}


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def main(descriptor: str, target: str) -> None:
    """Serve the function ``module:name`` on an inherited connection."""
    # Ctrl-C reaches every process of a terminal. The parent handles it, and then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    module, _, name = target.partition(":")
    serve(Connection(int(descriptor)), getattr(importlib.import_module(module), name))


if __name__ == "__main__":
    main(*sys.argv[1:])
