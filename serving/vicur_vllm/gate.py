"""ASGI middleware in front of vLLM's routes that restricts routes, body size and the number of concurrent requests.

vLLM requires the API key only for routes under ``/v1``, ``/v2`` and ``/inference``. It has about thirty more routes, some of which stop or
scale the server, and it accepts bodies of any size. A server that is reachable by untrusted clients must not expose these.
"""

from __future__ import annotations

from vicur.config.serving import ServerLimits
from vicur.processes.asgi import App, Message, Receive, Send, read_body, refuse, replayed
from vicur_vllm.bounds import server_limits

OPEN = {"/health": "GET", "/metrics": "GET", "/version": "GET", "/v1/models": "GET", "/v1/chat/completions": "POST"}
"""Open paths and their methods."""
_RETRY_AFTER_SECONDS = 1


class Gate:
    """Middleware for ``vllm serve --middleware vicur_vllm.gate.Gate``."""

    def __init__(self, app: App, limits: ServerLimits | None = None) -> None:
        self._app = app
        # vLLM constructs middlewares with the application only.
        self._limits = limits or server_limits()
        self._active = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif OPEN.get(scope["path"]) != scope["method"]:
            available = ", ".join(f"{method} {path}" for path, method in OPEN.items())
            problem = f"{scope['method']} {scope['path']} is not available on this server. Available: {available}."
            await refuse(send, 404, problem)
        elif scope["method"] == "GET":
            await self._app(scope, receive, send)
        elif self._active >= self._limits.max_requests:
            problem = (
                f"The server is processing {self._active} requests, the maximum at a time (max_requests). Retry later."
            )
            await refuse(send, 429, problem, retry_after=_RETRY_AFTER_SECONDS)
        else:
            # Count requests from the start of their body, so that slow uploads cannot exhaust the memory.
            self._active += 1
            try:
                await self._forward(scope, receive, send)
            finally:
                self._active -= 1

    async def _forward(self, scope: Message, receive: Receive, send: Send) -> None:
        max_bytes = self._limits.max_request_bytes
        try:
            body = await read_body(scope, receive, max_bytes, seconds=self._limits.receive_seconds)
        except TimeoutError:
            seconds = self._limits.receive_seconds
            await refuse(send, 408, f"The body of the request did not arrive within {seconds:g} s (receive_seconds).")
            return
        if body is None:
            problem = f"The body of the request has more than {max_bytes} bytes (max_request_bytes)."
            await refuse(send, 413, problem)
        else:
            await self._app(scope, replayed(body, receive), send)
