"""What stands before vLLM's routes, around an application of a few lines."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from vicur.config.serving import ServerLimits
from vicur_vllm.gate import Gate

pytestmark = pytest.mark.vllm

LIMITS = ServerLimits(max_image_bytes=600, max_request_bytes=1024, max_requests=2)


class Asked:
    """A request and what came back.

    Args:
        pieces: its body, as it arrives.
        said: the length that it names.
    """

    def __init__(
        self, *pieces: bytes, path: str = "/v1/chat/completions", method: str = "POST", said: str = ""
    ) -> None:
        headers = [(b"content-length", said.encode())] if said else []
        self.scope: dict[str, Any] = {"type": "http", "path": path, "method": method, "headers": headers}
        self._coming = [
            {"type": "http.request", "body": piece, "more_body": n < len(pieces) - 1} for n, piece in enumerate(pieces)
        ]
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return self._coming.pop(0) if self._coming else {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.sent[1]["body"])["error"]


class Echo:
    """An application that sends a body back once it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.began = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        self.began += 1
        message = await receive()
        await self.may.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})
        assert (await receive())["type"] == "http.disconnect"


def ask(asked: Asked) -> Asked:
    async def run() -> None:
        echo = Echo()
        echo.may.set()
        await Gate(echo, LIMITS)(asked.scope, asked.receive, asked.send)

    asyncio.run(run())
    return asked


def test_a_body_goes_on_whole() -> None:
    asked = ask(Asked(b"a" * 600, b"", b"b" * 424))
    assert asked.status == 200
    assert asked.sent[1]["body"] == b"a" * 600 + b"b" * 424


@pytest.mark.parametrize(
    "asked",
    [Asked(b"", said="1025"), Asked(b"", said="-1"), Asked(b"a" * 1000, b"b" * 25), Asked(b"a" * 1025, said="10")],
    ids=["said", "nonsense", "in pieces", "more than said"],
)
def test_a_body_that_is_too_large_is_refused(asked: Asked) -> None:
    assert ask(asked).status == 413
    assert asked.error["message"] == "The request's body has more than 1024 bytes (max_request_bytes)."


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
def test_other_paths_and_methods_are_not_there(method: str, path: str) -> None:
    asked = ask(Asked(b"", path=path, method=method))
    assert asked.status == 404
    assert f"There is no {method} {path} here" in asked.error["message"]


def test_requests_beyond_as_many_as_may_be_under_way_are_told_to_come_again() -> None:
    async def run() -> None:
        echo = Echo()
        gate = Gate(echo, LIMITS)
        first = [Asked(b"x") for _ in range(2)]
        tasks = [asyncio.create_task(gate(a.scope, a.receive, a.send)) for a in first]
        while echo.began < 2:
            await asyncio.sleep(0)
        third, page = Asked(b"x"), Asked(b"", path="/health", method="GET")
        await gate(third.scope, third.receive, third.send)
        assert third.status == 429
        assert (b"retry-after", b"1") in third.sent[0]["headers"]
        echo.may.set()
        await gate(page.scope, page.receive, page.send)
        assert page.status == 200
        await asyncio.gather(*tasks)
        later = Asked(b"x")
        await gate(later.scope, later.receive, later.send)
        assert later.status == 200

    asyncio.run(run())


def test_a_place_is_free_again_after_a_failure() -> None:
    async def fails(*_: Any) -> None:
        raise RuntimeError

    async def run() -> None:
        gate = Gate(fails, LIMITS)
        for _ in range(3):
            asked = Asked(b"x")
            with pytest.raises(RuntimeError):
                await gate(asked.scope, asked.receive, asked.send)

    asyncio.run(run())


def test_websockets_are_closed() -> None:
    asked = Asked(b"")
    asked.scope = {"type": "websocket", "path": "/v1/realtime"}
    assert ask(asked).sent == [{"type": "websocket.close", "code": 1008}]
