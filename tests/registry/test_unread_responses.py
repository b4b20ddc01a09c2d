"""A client that does not read its responses, on the real web server with a double of the student."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

import pytest
import uvicorn

from tests.tracking.server import free_port
from vicur.config.serving import ModelLimits
from vicur.registry.served.app import StudentApp
from vicur.registry.served.files import Files
from vicur.registry.served.student import Answer, ServedStudent

BODY = json.dumps({"instances": [""] * 64}).encode()
JSON = {"Content-Type": "application/json"}


class StudentDouble:
    """Answers at once, with responses that are long enough to fill the buffers of a connection."""

    limits = ModelLimits(receive_seconds=2)

    def answer(self, rows: Sequence[Any], *_: object) -> list[Answer]:
        return [Answer(error="has no question. " * 10) for _ in rows]


async def no_app(*_: object) -> None:
    pass


@pytest.fixture
def port() -> Iterator[int]:
    app = StudentApp(no_app, cast(ServedStudent, StudentDouble()), Files())
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield server.config.port
    server.force_exit = server.should_exit = True
    thread.join()


def status(port: int, seconds: float) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    connection.request("POST", "/invocations", BODY, JSON)
    return connection.getresponse().status


def test_it_keeps_nobody_waiting(port: int) -> None:
    assert status(port, 10) == 200
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    with socket.socket() as silent:
        # The kernel would otherwise take megabytes of responses for the client.
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect(("127.0.0.1", port))
        silent.settimeout(1)
        with suppress(OSError):
            for _ in range(1500):
                silent.sendall(head.encode() + BODY)
        # Until the server cannot send any more.
        time.sleep(2)
        assert status(port, 6) == 200
