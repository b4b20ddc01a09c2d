"""``vicur serve`` in a process of its own, on a free port."""

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
_PATIENCE = 240.0  # seconds until it serves, on a busy machine


@dataclass
class Served:
    """A server that is ready.

    Attributes:
        url: its address.
        process: its process.
        log: what it writes.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:  # noqa: S310 (the server that was just started)
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self) -> int:
        """Tells it to stop, and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def start(folder: Path, *words: str, port: int, **variables: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Starts ``vicur serve`` with these words from ``folder``; returns its process and the file that it writes to."""
    log = folder / f"serve-{port}.log"
    command = [sys.executable, "-m", "vicur", "serve", *words]
    with log.open("wb") as written:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **_ENVIRONMENT, **variables},
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, log


@contextmanager
def serving(folder: Path, model: str, *words: str, extra: tuple[str, ...] = (), **variables: str) -> Iterator[Served]:
    """A server of ``model``, started from ``folder``. It is stopped at the end, with all its processes."""
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
    ends = time.monotonic() + _PATIENCE
    while time.monotonic() < ends:
        if served.process.poll() is not None:
            break
        try:
            if served.get("/health")[0] == 200:
                return
        except urllib.error.URLError:
            time.sleep(0.5)
    raise AssertionError(f"the server is not ready:\n{served.log.read_text()[-6000:]}")
