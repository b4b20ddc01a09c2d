"""Run ``vicur serve`` in a separate process on a free port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.tracking.server import free_port

_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "TORCH_COMPILE_DISABLE": "1",
}
_STARTUP_SECONDS = 240.0  # enough for a busy machine


@dataclass
class Served:
    """Running server."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path  # standard output and error

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the body of a response."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:  # noqa: S310 (the server that was just started)
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def start(folder: Path, *words: str, port: int, **variables: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Start ``vicur serve`` in ``folder`` and return the process and its log file."""
    log = folder / f"serve-{port}.log"
    command = [sys.executable, "-m", "vicur", "serve", *words]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **_ENVIRONMENT, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, log


@contextmanager
def serving(folder: Path, model: str, *words: str, extra: tuple[str, ...] = (), **variables: str) -> Iterator[Served]:
    """Yield a server of ``model`` that was started in ``folder``, and stop all its processes at the end."""
    port = free_port()
    process, log = start(
        folder, model, "--port", str(port), *words, "--", "--dtype", "float32", *extra, port=port, **variables
    )
    served = Served(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(served)
        yield served
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait(served: Served) -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    while time.monotonic() < deadline:
        if served.process.poll() is not None:
            break
        try:
            if served.get("/health")[0] == 200:
                return
        except urllib.error.URLError:
            time.sleep(0.5)
    raise AssertionError(f"the server did not start:\n{served.log.read_text()[-6000:]}")
