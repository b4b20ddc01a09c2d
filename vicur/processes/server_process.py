"""Run a server as a child process and leave nothing behind: a server that outlives its command would keep the GPU's memory."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from vicur.errors import VicurError
from vicur.processes.signals import forwarding

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# Seconds that the server, and then the children that it left, have to end after SIGTERM, before SIGKILL.
_GRACE = 20.0
LONGEST_STOP = 2 * _GRACE
"""Seconds within which :func:`run_server` returns after SIGTERM or SIGINT."""


def run_server(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a server until it ends, forwarding SIGTERM and SIGINT to it. If this process is killed, the server gets SIGTERM.

    A server that has not ended some time after a forwarded signal is killed, with all that it started.

    Returns:
        The server's exit status; 128 plus the signal's number if a signal ended it after one was forwarded.

    Raises:
        VicurError: if a signal ended it before.
    """
    # Orphans of the server become children of this process, which can then wait for them.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # A session, hence a process group, that holds the server and all that it starts: _end_group ends them together.
    server = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=_prepare_server)
    with forwarding(server, _GRACE) as sent:
        try:
            status = server.wait()
        finally:
            _end_group(server.pid)
    if status < 0 and not sent:
        raise VicurError(
            f"The server was killed by {signal.Signals(-status).name}.",
            remedy="If you did not kill it, the machine probably ran out of memory: see the kernel's log (dmesg). Start it again; a "
            "training resumes from its last checkpoint.",
            exit_code=128 - status,
        )
    return status if status >= 0 else 128 - status


def require_free_port(host: str, port: int, command: str) -> None:
    """Raise a ``VicurError`` if ``command``, which has the options --host and --port, cannot bind to this address."""
    # vLLM itself reports a used port in many lines, and after it has loaded its model.
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # vLLM sets it as well: a port with connections in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise VicurError(
            f"cannot bind to {host}:{port}: {reason[:1].lower()}{reason[1:]}.",
            where=command,
            remedy="Choose another --port or --host, or stop the process that uses this one.",
        ) from error


def _prepare_server() -> None:
    # Runs in the child, between fork and exec.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # A shell starts background jobs with SIGINT ignored, and children inherit that. Without this, a forwarded Ctrl-C would be lost.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _prctl(option: int, value: int) -> None:
    # prctl exists on Linux only.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, int(value))


def _end_group(group: int) -> None:
    # A server that was killed cannot end its own children.
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _GRACE
        try:
            os.killpg(group, number)
            while time.monotonic() < deadline:
                _reap(group)
                # Raises ProcessLookupError once the group is empty. Zombies count as members, hence the reaping.
                os.killpg(group, 0)
                time.sleep(0.1)
        except (ProcessLookupError, PermissionError):
            return


def _reap(group: int) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
