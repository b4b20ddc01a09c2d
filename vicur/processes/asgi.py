"""Helpers of the ASGI middlewares in front of servers of students: read the body of a request, replay it, or reject the request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


async def read_body(
    scope: Message,
    receive: Receive,
    max_bytes: int,
    *,
    seconds: float | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> bytes | None:
    """Return the body of a request, or ``None`` as soon as it turns out to have more than ``max_bytes`` bytes.

    Args:
        seconds: time within which the whole body must arrive.
        on_bytes: called with the number of bytes of each chunk.

    Raises:
        TimeoutError: if the body is slower.
    """
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit() or int(length) > max_bytes:
        return None
    # The header may be missing (chunked transfer encoding) or wrong, so the bytes that arrive are counted, too.
    body = bytearray()
    async with asyncio.timeout(seconds):
        while True:
            message = await receive()
            chunk = message.get("body", b"")
            if on_bytes is not None:
                on_bytes(len(chunk))
            body += chunk
            if len(body) > max_bytes:
                return None
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return bytes(body)


async def discard_body(scope: Message, receive: Receive, max_bytes: int, seconds: float) -> None:
    """Read a body that is not needed, for at most this many bytes and seconds, before the response that refuses it.

    A client that still sends when the connection ends does not see the response.
    """
    # Such a client sends its body only if it is invited.
    if dict(scope["headers"]).get(b"expect"):
        return
    received = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while received <= max_bytes:
                message = await receive()
                received += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that first returns a body that was already read, and then calls the original one."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


async def refuse(
    send: Send,
    status: int,
    problem: str,
    *,
    retry_after: int | None = None,
    param: str | None = None,
    ends_connection: bool = False,
) -> None:
    """Send an error response in the format of OpenAI's API, with a ``Retry-After`` header in seconds if it is set.

    Args:
        ends_connection: whether the server ends the connection, in place of reading a body that has not arrived.
    """
    kind = "invalid_request_error" if status < 500 else "server_error"
    await reply(
        send,
        status,
        {"error": {"message": problem, "type": kind, "param": param, "code": status}},
        retry_after=retry_after,
        ends_connection=ends_connection,
    )


async def reply(
    send: Send, status: int, content: Any, *, retry_after: int | None = None, ends_connection: bool = False
) -> None:
    """Send a JSON response."""
    body = json.dumps(content, allow_nan=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers.append((b"x-content-type-options", b"nosniff"))
    if ends_connection:
        headers.append((b"connection", b"close"))
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
