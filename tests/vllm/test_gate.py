"""The gate in front of vLLM's routes, tested with a small application."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from vicur.config.serving import ServerLimits
from vicur_vllm.gate import Gate

pytestmark = pytest.mark.vllm

LIMITS = ServerLimits(max_image_bytes=600, max_request_bytes=1024, max_requests=2)


class Request:
    """Request that arrives in chunks, and its response."""

    def __init__(
        self, *chunks: bytes, path: str = "/v1/chat/completions", method: str = "POST", content_length: str = ""
    ) -> None:
        headers = [(b"content-length", content_length.encode())] if content_length else []
        self.scope: dict[str, Any] = {"type": "http", "path": path, "method": method, "headers": headers}
        self._pending = [
            {"type": "http.request", "body": chunk, "more_body": n < len(chunks) - 1} for n, chunk in enumerate(chunks)
        ]
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return self._pending.pop(0) if self._pending else {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.sent[1]["body"])["error"]


class Echo:
    """Application that returns the body of a request once ``released`` is set."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.started = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        self.started += 1
        message = await receive()
        await self.released.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})
        assert (await receive())["type"] == "http.disconnect"


def handled(request: Request) -> Request:
    async def run() -> None:
        echo = Echo()
        echo.released.set()
        await Gate(echo, LIMITS)(request.scope, request.receive, request.send)

    asyncio.run(run())
    return request


def test_a_body_in_chunks_is_forwarded_completely() -> None:
    request = handled(Request(b"a" * 600, b"", b"b" * 424))
    assert request.status == 200
    assert request.sent[1]["body"] == b"a" * 600 + b"b" * 424


@pytest.mark.parametrize(
    "request_",
    [
        Request(b"", content_length="1025"),
        Request(b"", content_length="-1"),
        Request(b"a" * 1000, b"b" * 25),
        Request(b"a" * 1025, content_length="10"),
    ],
    ids=["long content-length", "invalid content-length", "in chunks", "longer than content-length"],
)
def test_a_body_above_the_limit_is_rejected(request_: Request) -> None:
    assert handled(request_).status == 413
    assert request_.error["message"] == "The body of the request has more than 1024 bytes (max_request_bytes)."


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/scale_elastic_ep"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/health"),
        ("GET", "/health/"),
        ("GET", "//health"),
    ],
)
def test_other_paths_and_methods_are_not_available(method: str, path: str) -> None:
    request = handled(Request(b"", path=path, method=method))
    assert request.status == 404
    assert f"{method} {path} is not available" in request.error["message"]


def test_requests_above_the_concurrency_limit_get_429_with_retry_after() -> None:
    async def run() -> None:
        echo = Echo()
        gate = Gate(echo, LIMITS)
        first = [Request(b"x") for _ in range(2)]
        tasks = [asyncio.create_task(gate(each.scope, each.receive, each.send)) for each in first]
        while echo.started < 2:
            await asyncio.sleep(0)
        third, health = Request(b"x"), Request(b"", path="/health", method="GET")
        await gate(third.scope, third.receive, third.send)
        assert third.status == 429
        assert (b"retry-after", b"1") in third.sent[0]["headers"]
        echo.released.set()
        await gate(health.scope, health.receive, health.send)
        assert health.status == 200
        await asyncio.gather(*tasks)
        later = Request(b"x")
        await gate(later.scope, later.receive, later.send)
        assert later.status == 200

    asyncio.run(run())


def test_failed_requests_do_not_count_as_active() -> None:
    async def fails(*_: Any) -> None:
        raise RuntimeError

    async def run() -> None:
        gate = Gate(fails, LIMITS)
        for _ in range(3):
            request = Request(b"x")
            with pytest.raises(RuntimeError):
                await gate(request.scope, request.receive, request.send)

    asyncio.run(run())


def test_a_body_that_does_not_arrive_in_time_is_rejected_and_frees_its_place() -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    async def run() -> None:
        gate = Gate(Echo(), LIMITS.model_copy(update={"receive_seconds": 0.01, "max_requests": 1}))
        for _ in range(2):
            request = Request(b"")
            await gate(request.scope, never, request.send)
            assert request.status == 408
            assert "receive_seconds" in request.error["message"]

    asyncio.run(run())


def test_websockets_are_closed() -> None:
    request = Request(b"")
    request.scope = {"type": "websocket", "path": "/v1/realtime"}
    assert handled(request).sent == [{"type": "websocket.close", "code": 1008}]
