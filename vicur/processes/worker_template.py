"""The template of :mod:`vicur.processes.workers`: imports the module of a function once, and forks workers that call it.

python -m vicur.processes.worker_template DESCRIPTOR MODULE:NAME
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, NoReturn

from vicur.errors import VicurError

Report = Callable[[int], None]
"""Called by a running task with the amount of its work that is done so far."""
Function = Callable[[Any, Report], Any]
"""A function of a module: a task and where to report progress -> a result."""

# Seconds between two messages of a task about its progress.
_REPORT_SECONDS = 0.5
GRACE = 5.0
"""Seconds that workers have to end once their connections are closed. Then they are killed."""
_PAUSE = 0.01
INDEX = struct.Struct("i")
"""A message to or from the template: the index of a worker, or its exit status."""


class Throttled:
    """Pass on progress, but not more often than somebody can read it."""

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
            result = function(task, Throttled(lambda done: send({"done": done})))
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


def _work(descriptor: int, function: Function) -> NoReturn:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    status = 1
    try:
        serve(Connection(descriptor), function)
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Without the exit handlers of the template's modules.
        os._exit(status)


def _serve_forks(control: socket.socket, function: Function) -> list[int]:
    """Fork a worker for each connection that arrives, and return their process ids when the parent closes or ends.

    A message with a connection forks. One without requests the exit status of the worker with this index.
    """
    pids: list[int] = []
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, INDEX.size, 1)
        if not message:
            return pids
        if not descriptors:
            (index,) = INDEX.unpack(message)
            _, status = os.waitpid(pids[index], 0)
            control.send(INDEX.pack(os.waitstatus_to_exitcode(status)))
            continue
        if (pid := os.fork()) == 0:
            control.close()
            _work(descriptors[0], function)
        os.close(descriptors[0])
        pids.append(pid)


def _end(pids: list[int]) -> None:
    """Wait for workers, and kill those that have not ended after a while, such as inside a library that does not return."""
    deadline = time.monotonic() + GRACE
    for pid in pids:
        with suppress(ChildProcessError):  # it was waited for
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(_PAUSE)


class _WithoutPandas(MetaPathFinder, Loader):
    """Hide pandas, which no worker uses. pyarrow imports it if it can, to recognise its types: 0.3 seconds and 40 MB."""

    # Only the import fails: torch looks pandas up without importing it.
    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return spec_from_loader(name, self) if name == "pandas" else None

    def exec_module(self, module: ModuleType) -> None:
        raise ModuleNotFoundError(f"{module.__name__} is not used in workers", name=module.__name__)


def main(descriptor: str, target: str) -> None:
    """Be the template of workers for the function ``module:name``, with an inherited socket to its parent."""
    # Ctrl-C reaches every process of a terminal. The parent handles it, and then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.meta_path.insert(0, _WithoutPandas())
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    # Collections would write to the pages that workers share.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(descriptor)) as control:
        pids = _serve_forks(control, function)
    _end(pids)


if __name__ == "__main__":
    main(*sys.argv[1:])
