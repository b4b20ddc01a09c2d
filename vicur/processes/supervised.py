"""Keep helper processes running for as long as a block: restart those that end, give up after a few times, leave none behind.

Each helper is started with a file as its first argument, which it must :func:`~vicur.processes.lifeline.watch`: it then ends with the
process that started it, even if that one is killed.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from vicur.errors import VicurError
from vicur.processes.descendants import descendants
from vicur.processes.lifeline import lifeline
from vicur.processes.server_process import LONGEST_STOP

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
# Longest wait for a helper to end after SIGTERM: longer than a helper waits for the server that it runs.
_GRACE = LONGEST_STOP + 10.0
_TAIL_BYTES = 2000
WRONG_INPUT = 2
"""Exit status of a helper that found its input invalid. It is not restarted."""


@dataclass
class Helper:
    """A process to keep running.

    Attributes:
        name: what it is, for messages (``rollout server 0``).
        command: command, without the lifeline.
        log_file: its output.
        environment: variables in addition to those of this process.
        can_restart: whether it can be started again by now, such as once its port is free.
    """

    name: str
    command: Sequence[str]
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    can_restart: Callable[[], bool] = lambda: True
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0


@contextmanager
def supervised(helpers: Sequence[Helper], folder: Path, failure: Path, restarts: int = 3) -> Iterator[None]:
    """Run the helpers inside the block.

    Args:
        failure: file that gets the reason as JSON, with the fields of a ``VicurError``, if one of them has ended for good.
        restarts: number of times that each is restarted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    failure.unlink(missing_ok=True)
    held = folder / "lifeline"
    ended = threading.Event()
    with lifeline(held):
        try:
            for helper in helpers:
                _start(helper, held)
            watcher = threading.Thread(target=_watch, args=(helpers, held, failure, restarts, ended), daemon=True)
            watcher.start()
            try:
                yield
            finally:
                ended.set()
                watcher.join()
        finally:
            _stop(helpers)


def _start(helper: Helper, held: Path) -> None:
    with helper.log_file.open("ab") as output:
        # A separate process group: Ctrl-C reaches this process, which then stops the helpers in order.
        helper.process = subprocess.Popen(
            [*helper.command, str(held)],
            env={**os.environ, **helper.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _watch(helpers: Sequence[Helper], held: Path, failure: Path, restarts: int, ended: threading.Event) -> None:
    waiting: dict[str, float] = {}
    while not ended.wait(_POLL_SECONDS):
        for helper in helpers:
            if helper.process is None or (status := helper.process.poll()) is None:
                continue
            if helper.name not in waiting:
                if status == WRONG_INPUT or helper.restarts >= restarts:
                    _report(helper, status, failure)
                    return
                log.warning("The %s %s. Starting it again (%s).", helper.name, _outcome(status), helper.log_file)
                waiting[helper.name] = time.monotonic()
            # What it had started may need a moment to end as well, and to free its port.
            if helper.can_restart() or time.monotonic() - waiting[helper.name] > _GRACE:
                del waiting[helper.name]
                helper.restarts += 1
                _start(helper, held)


def _report(helper: Helper, status: int, failure: Path) -> None:
    tail = helper.log_file.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip().splitlines()
    report = {
        "problem": f"the {helper.name} {_outcome(status)}: {tail[-1] if tail else 'it printed nothing'}",
        "where": str(helper.log_file),
        "remedy": "See the end of this file. The training resumes from its last checkpoint.",
        "exit_code": WRONG_INPUT if status == WRONG_INPUT else 1,
        "retryable": status != WRONG_INPUT,
    }
    partial = failure.with_name(f".{failure.name}.partial")
    partial.write_text(json.dumps(report), encoding="utf-8")
    partial.replace(failure)
    log.error(
        "The %s %s, and is not started again. Its output is in %s.", helper.name, _outcome(status), helper.log_file
    )


def _outcome(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _stop(helpers: Sequence[Helper]) -> None:
    processes = [helper.process for helper in helpers if helper.process is not None]
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + _GRACE
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a helper with all that it has started, in whatever process groups."""
    # Stopped, it starts nothing between the look and the kill.
    os.kill(process.pid, signal.SIGSTOP)
    for pid in (*descendants(process.pid), process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def failure_of(file: Path) -> VicurError | None:
    """Return the error in a failure file, if there is one."""
    if not file.exists():
        return None
    report = json.loads(file.read_text(encoding="utf-8"))
    return VicurError(report.pop("problem"), **report)
