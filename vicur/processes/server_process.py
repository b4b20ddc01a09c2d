"""A server in a process below this one, which leaves nothing behind: what holds a GPU's memory is not to outlive the command."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from vicur.errors import VicurError

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# Seconds that the server's own processes have to end, once it is gone.
_GRACE = 20.0


def run_server(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs a server until it ends. It is told to where this process is (SIGTERM, Ctrl-C), and where this one is killed.

    Args:
        command: the server and its arguments.
        environment: its environment.

    Returns:
        Its exit status; of one that a signal ended as it was asked to, 128 and the signal's number.

    Raises:
        VicurError: where another signal ended it.
    """
    asked: list[int] = []
    # What the server leaves falls to this process.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # A session of its own: what it starts and leaves behind is known by that.
    server = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=_end_with_parent)

    def forward(number: int, _: object) -> None:
        asked.append(number)
        server.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        status = server.wait()
    finally:
        _end_rest(server.pid)
        for number, handler in before.items():
            signal.signal(number, handler)
    if status < 0 and -status not in asked:
        raise VicurError(
            f"was ended by {signal.Signals(-status).name}.",
            where="the server",
            remedy="Where nobody did it, memory was short: see what the system says of it. Start it again; a training goes on from its "
            "checkpoint.",
            exit_code=128 - status,
        )
    return status if status >= 0 else 128 - status


def _end_with_parent() -> None:
    """In the server's process, before it starts: has it told to end where its parent is killed."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # A shell has what it starts in the background ignore Ctrl-C. This process passes it on all the same.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _prctl(option: int, value: int) -> None:
    """Linux alone has it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, int(value))


def _end_rest(group: int) -> None:
    """Ends what a server has left: one that is killed cannot tell its processes to end."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        ends = time.monotonic() + _GRACE
        try:
            os.killpg(group, number)
            while time.monotonic() < ends:
                _reap(group)
                os.killpg(group, 0)
                time.sleep(0.1)
        except (ProcessLookupError, PermissionError):
            return


def _reap(group: int) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
