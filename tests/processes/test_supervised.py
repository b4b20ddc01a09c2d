"""Helper processes are stopped with all that they have started, however slow it is."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.processes.test_server_process import is_alive, wait_until
from vicur.processes import server_process, supervised
from vicur.processes.supervised import Helper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

_STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
name = sys.argv[1]
pathlib.Path(name + ".new").write_text(str(os.getpid()))
pathlib.Path(name + ".new").rename(name)
if len(sys.argv) > 2 and sys.argv[2] == "starts":
    # In a session of its own, as run_server starts vLLM.
    subprocess.Popen([sys.executable, "-c", pathlib.Path("code").read_text(), "below"], start_new_session=True)
time.sleep(60)
"""
_RUNS_A_SERVER = """
import os, pathlib, sys
from vicur.processes import server_process
server_process._GRACE = 0.3
sys.exit(server_process.run_server([sys.executable, "-c", pathlib.Path("code").read_text(), "server"], dict(os.environ)))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "code").write_text(_STUBBORN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pid_in(file: Path) -> int:
    wait_until(file.exists)
    return int(file.read_text())


def test_helper_that_ignores_sigterm_is_killed_with_what_it_has_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "_GRACE", 0.3)
    helper = Helper("server", [sys.executable, "-c", _STUBBORN, "helper", "starts"], folder / "log")
    with supervised.supervised([helper], folder, folder / "failure"):
        pids = [pid_in(folder / name) for name in ("helper", "below")]
        assert all(map(is_alive, pids))
    wait_until(lambda: not any(map(is_alive, pids)))


def test_server_that_ignores_sigterm_is_killed_by_its_helper(folder: Path) -> None:
    helper = Helper("server", [sys.executable, "-c", _RUNS_A_SERVER], folder / "log")
    with supervised.supervised([helper], folder, folder / "failure"):
        server = pid_in(folder / "server")
        started = time.monotonic()
    assert time.monotonic() - started < 10
    assert helper.process is not None
    assert helper.process.returncode == 137
    assert not is_alive(server)


def test_supervisor_waits_longer_than_a_helper_does() -> None:
    assert supervised._GRACE > server_process.LONGEST_STOP
