"""What stands before vLLM's own routes: which of them are open, how much a request may bring, and how many are under way.

vLLM asks for the API key below ``/v1``, ``/v2`` and ``/inference`` alone and has some thirty more routes, of which some stop or scale the
server. It reads a body of any size. Neither is for a server that strangers reach.
"""

from __future__ import annotations

from vicur.config.serving import ServerLimits
from vicur_vllm.asgi import App, Message, Receive, Send, refuse, replayed, whole_body
from vicur_vllm.bounds import server_limits

OPEN = {"/health": "GET", "/metrics": "GET", "/version": "GET", "/v1/models": "GET", "/v1/chat/completions": "POST"}
"""Paths that are served, and their methods."""
_RETRY_SECONDS = 1


class Gate:
    """ASGI middleware, for ``vllm serve --middleware vicur_vllm.gate.Gate``.

    Args:
        app: what a request goes on to.
        limits: the limits to hold to; those of the process where they are left out.
    """

    def __init__(self, app: App, limits: ServerLimits | None = None) -> None:
        self._app = app
        self._limits = limits or server_limits()
        self._under_way = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Lets a request through, or says why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif OPEN.get(scope["path"]) != scope["method"]:
            open_here = ", ".join(f"{method} {path}" for path, method in OPEN.items())
            await refuse(send, 404, f"There is no {scope['method']} {scope['path']} here; there are {open_here}.")
        elif scope["method"] == "GET":
            await self._app(scope, receive, send)
        elif self._under_way >= self._limits.max_requests:
            problem = (
                f"{self._under_way} requests are under way, as many as this server takes (max_requests). Come again."
            )
            await refuse(send, 429, problem, retry_after=_RETRY_SECONDS)
        else:
            self._under_way += 1
            try:
                await self._bring(scope, receive, send)
            finally:
                self._under_way -= 1

    async def _bring(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hands a request on once its body is whole and small enough."""
        most = self._limits.max_request_bytes
        body = await whole_body(scope, receive, most)
        if body is None:
            await refuse(send, 413, f"The request's body has more than {most} bytes (max_request_bytes).")
        else:
            await self._app(scope, replayed(body, receive), send)
