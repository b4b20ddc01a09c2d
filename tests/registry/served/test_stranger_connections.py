"""Slow, broken and many connections of strangers to ``mlflow models serve``."""

from __future__ import annotations

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from tests.registry.model_server import ModelServer
from tests.registry.served.asking import RECEIVE_SECONDS, question
from tests.registry.served.hostile import REFUSED, saved
from vicur.data.schema import Example


def test_slow_bodies_are_dropped_and_block_nobody(server: ModelServer, example: Example) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    slow = [server.connect() for _ in range(4)]
    for each in slow:
        each.sendall(head)
    began = time.monotonic()
    assert server.ask(question(example))[0]["error"] is None
    assert time.monotonic() - began < RECEIVE_SECONDS
    for each in slow:
        assert each.recv(100).startswith(b"HTTP/1.1 408")
        each.close()


def test_fortyfive_bad_requests_at_once_leave_a_server_that_answers(server: ModelServer) -> None:
    bodies: list[Any] = [
        b"{" * 9,
        {"inputs": [{"question": "What?", "image": "pipe"}] * 32},
        {"inputs": [{"question": "What?", "image": base64.b64encode(REFUSED["144 megapixels"][0]()).decode()}]},
        {
            "inputs": [
                {"question": "What?", "image": base64.b64encode(saved(Image.new("LA", (2048, 2048)), "PNG")).decode()}
            ]
            * 4
        },
        b"x" * (30 << 20),
    ]
    health: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            began = time.monotonic()
            assert server.get("/ping").status == 200
            health.append(time.monotonic() - began)
            time.sleep(0.05)

    with ThreadPoolExecutor(46) as pool:
        watcher = pool.submit(watch)
        replies = list(pool.map(lambda n: server.post(bodies[n % len(bodies)]).status, range(45)))
        done.set()
        watcher.result()
    assert set(replies) <= {200, 400, 429}
    assert 429 in replies, "more than max_requests or max_held_bytes at once"
    assert max(health) < 5


def test_clients_that_leave_give_their_place_back(server: ModelServer, example: Example) -> None:
    body = b'{"inputs": ["What?"]}'
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(30):
        with server.connect() as gone:
            gone.sendall(head.encode() + body[: 5 if _ % 2 else None])
    deadline = time.monotonic() + RECEIVE_SECONDS + 10
    while (reply := server.post({"inputs": [question(example)]})).status == 429 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert reply.status == 200


def test_bytes_that_are_no_http_end_the_connection_only(server: ModelServer) -> None:
    for junk in (
        b"\x16\x03\x01\x02\x00" * 50,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ):
        with server.connect() as connection:
            connection.sendall(junk)
            assert b"Traceback" not in connection.recv(10_000)


@pytest.mark.parametrize(
    "request_line", ["POST /invocations", "POST /missing", "GET /v1/models/", "DELETE /invocations"], ids=str
)
def test_a_body_that_never_ends_is_not_read_for_ever(server: ModelServer, request_line: str) -> None:
    """After the refusal, the server ends the connection. It would otherwise parse what arrives, a byte a chunk."""
    head = f"{request_line} HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n"

    def send_for_ever() -> None:
        with server.connect() as endless:
            endless.sendall(head.encode())
            while True:
                endless.sendall(b"1\r\na\r\n" * 10)
                time.sleep(0.05)

    began = time.monotonic()
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        send_for_ever()
    assert time.monotonic() - began < RECEIVE_SECONDS + 20


def test_a_request_that_is_refused_unread_gets_its_response(server: ModelServer) -> None:
    body = b"x" * (20 << 20)
    reply = server.send("POST", "/missing", body, {"Content-Type": "application/json"})
    assert (reply.status, reply.headers["connection"]) == (404, "close")
    assert server.send("POST", "/invocations", body, {"Content-Type": "text/csv"}).status == 415
