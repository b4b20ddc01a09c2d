"""Helpers of the ASGI middlewares in front of vLLM's routes: read the body of a request, replay it, or reject the request."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


async def read_body(scope: Message, receive: Receive, max_bytes: int) -> bytes | None:
    """Return the body of a request, or ``None`` as soon as it turns out to have more than ``max_bytes`` bytes."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit() or int(length) > max_bytes:
        return None
    # The header may be missing (chunked transfer encoding) or wrong, so the bytes that arrive are counted, too.
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > max_bytes:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that first returns a body that was already read, and then calls the original one."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


async def refuse(send: Send, status: int, problem: str, *, retry_after: int | None = None) -> None:
    """Send an error response in the format of OpenAI's API, with a ``Retry-After`` header in seconds if it is set."""
    error = {"message": problem, "type": "invalid_request_error", "param": None, "code": status}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
