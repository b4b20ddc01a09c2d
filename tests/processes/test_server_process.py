"""Running a server below a command: it ends with the command, and no process is left. The server here is a fake with a child process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vicur.errors import VicurError
from vicur.processes.server_process import require_free_port

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
    """The command and the processes below it."""

    def __init__(self, folder: Path, seconds: float, *, in_background: bool = False) -> None:
        command = [sys.executable, "-c", _COMMAND, _SERVER, str(seconds)]
        # Shells start background jobs like this.
        ignoring = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if in_background else None
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, preexec_fn=ignoring)
        wait_until(lambda: (folder / "server").exists())
        self.server, self.below = (int((folder / name).read_text()) for name in ("server", "below"))

    def ended(self) -> tuple[int, str]:
        """Wait for the end, check that no process is left, and return exit status and output."""
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


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_exit_status_is_returned_and_children_of_the_server_are_ended(tmp_path: Path) -> None:
    assert Command(tmp_path, 0.0).ended() == (3, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("in_background", [False, True])
def test_signals_are_forwarded_to_the_server(tmp_path: Path, number: signal.Signals, in_background: bool) -> None:
    command = Command(tmp_path, 60, in_background=in_background)
    command.process.send_signal(number)
    # The fake server handles SIGTERM only.
    assert command.ended()[0] == (0 if number == signal.SIGTERM else 130)


def test_killed_server_leaves_no_process_and_is_reported(tmp_path: Path) -> None:
    command = Command(tmp_path, 60)
    os.kill(command.server, signal.SIGKILL)
    code, printed = command.ended()
    assert code == 137
    assert printed.startswith(
        "The server was killed by SIGKILL. If you did not kill it, the machine probably ran out of memory"
    )


def test_killed_command_ends_its_server(tmp_path: Path) -> None:
    command = Command(tmp_path, 60)
    os.kill(command.process.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(command.server))
    os.kill(command.below, signal.SIGKILL)
    assert command.ended()[0] == -signal.SIGKILL


def test_used_port_is_reported_before_the_server_starts() -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        with pytest.raises(VicurError, match=f"^vicur serve: cannot bind to 127.0.0.1:{port}: address already in use"):
            require_free_port("127.0.0.1", port, "vicur serve")
    require_free_port("127.0.0.1", port, "vicur serve")
