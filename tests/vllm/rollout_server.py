"""A rollout server in a process of its own, on a free port."""

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

_PATIENCE = 300.0  # seconds until it answers, on a busy machine


@contextmanager
def rollout_server(base: Path, exchange: Path, words: Sequence[str]) -> Iterator[str]:
    """The address of a server for rollouts of what starts from ``base``; ``words`` are further arguments of the command."""
    port, log = free_port(), exchange / "server.log"
    setting = f"training.rollout.engine={{type: vllm, placement: server, url: 'http://127.0.0.1:{port}', exchange: {exchange}}}"
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
    # A server's core is a process of its own.
    environment = {**os.environ, **ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, cwd=exchange, env=environment, stdout=written, stderr=written, start_new_session=True
        )
    try:
        config = Vllm(placement="server", url=f"http://127.0.0.1:{port}", exchange=exchange)
        ends = time.monotonic() + _PATIENCE
        while True:
            try:
                Server(config).require_ready()
                break
            except VicurError:
                if process.poll() is not None or time.monotonic() > ends:
                    raise AssertionError(log.read_text()[-6000:]) from None
                time.sleep(0.5)
        yield str(config.url)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
