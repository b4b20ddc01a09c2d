"""A server below a command: how it ends, and that nothing of it is left. The server here is a few lines, with a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_SERVER = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("below").write_text(str(below.pid))
pathlib.Path("server.new").write_text(str(__import__("os").getpid()))
pathlib.Path("server.new").rename("server")
time.sleep(float(sys.argv[1]))
sys.exit(3)
"""
_COMMAND = """
import os, sys
from vicur.errors import VicurError
from vicur.processes.server_process import run_server
try:
    sys.exit(run_server([sys.executable, "-c", sys.argv[1], sys.argv[2]], dict(os.environ)))
except VicurError as error:
    print(error)
    sys.exit(error.exit_code)
"""
_PATIENCE = 60.0


class Command:
    """The command and what runs below it."""

    def __init__(self, folder: Path, seconds: float, *, in_background: bool = False) -> None:
        command = [sys.executable, "-c", _COMMAND, _SERVER, str(seconds)]
        # As a shell has what it starts in the background.
        ignoring = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if in_background else None
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, preexec_fn=ignoring)
        wait_until(lambda: (folder / "server").exists())
        self.server, self.below = (int((folder / name).read_text()) for name in ("server", "below"))

    def ended(self) -> tuple[int, str]:
        """Exit status, and what it printed. Nothing is left then."""
        printed, _ = self.process.communicate(timeout=_PATIENCE)
        for pid in (self.server, self.below):
            wait_until(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]
        return self.process.returncode, printed


def wait_until(done: object) -> None:
    ends = time.monotonic() + _PATIENCE
    while not done():  # type: ignore[operator]
        assert time.monotonic() < ends
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


def test_its_exit_status_is_passed_on_and_what_it_has_left_is_ended(tmp_path: Path) -> None:
    assert Command(tmp_path, 0.0).ended() == (3, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("in_background", [False, True])
def test_who_ends_the_command_ends_the_server(tmp_path: Path, number: signal.Signals, in_background: bool) -> None:
    command = Command(tmp_path, 60, in_background=in_background)
    command.process.send_signal(number)
    # These few lines end by themselves at SIGTERM alone.
    assert command.ended()[0] == (0 if number == signal.SIGTERM else 130)


def test_a_server_that_is_killed_leaves_nothing_and_is_told(tmp_path: Path) -> None:
    command = Command(tmp_path, 60)
    os.kill(command.server, signal.SIGKILL)
    code, printed = command.ended()
    assert code == 137
    assert printed.startswith("the server: was ended by SIGKILL. Where nobody did it, memory was short")


def test_a_command_that_is_killed_takes_its_server_along(tmp_path: Path) -> None:
    command = Command(tmp_path, 60)
    os.kill(command.process.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(command.server))
    os.kill(command.below, signal.SIGKILL)
    assert command.ended()[0] == -signal.SIGKILL
