"""Run a rollout server in a separate process on a free port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.tracking.server import free_port
from tests.vllm.engine import ENVIRONMENT
from vicur.config.vllm import Vllm
from vicur.errors import VicurError
from vicur.training.rollout.server import Server

_STARTUP_SECONDS = 300.0  # enough for a busy machine


@contextmanager
def rollout_server(base: Path, exchange: Path, words: Sequence[str]) -> Iterator[str]:
    """Yield the URL of a rollout server for the base model ``base``; ``words`` are additional arguments of the command."""
    port, log = free_port(), exchange / "server.log"
    setting = f"training.rollout={{placement: url, engine: {{url: 'http://127.0.0.1:{port}', exchange: {exchange}}}}}"
    command = [
        sys.executable,
        "-m",
        "vicur",
        "rollout-server",
        "--base",
        str(base),
        "--port",
        str(port),
        "--set",
        setting,
        *words,
    ]
    # As in production, the engine core runs in a separate process.
    environment = {**os.environ, **ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=exchange, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        config = Vllm(url=f"http://127.0.0.1:{port}", exchange=exchange)
        deadline = time.monotonic() + _STARTUP_SECONDS
        while True:
            try:
                Server(config).require_ready()
                break
            except VicurError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(log.read_text()[-6000:]) from None
                time.sleep(0.5)
        yield config.url[0]
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
