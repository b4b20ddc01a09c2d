"""ASGI middleware in front of the routes of a rollout server that restricts routes and worker methods and checks the API key.

vLLM's development endpoints can call any method of its workers, read the environment of the server and put it to sleep, and vLLM does not
require the API key for them. Training needs only three worker methods.
"""

from __future__ import annotations

import json
import os
import secrets

from vicur.config.vllm import API_KEY_VARIABLE
from vicur.processes.asgi import App, Message, Receive, Send, read_body, refuse, replayed

METHODS = ("vicur_take_weights", "vicur_held_weights", "vicur_weights_file")
"""Worker methods that clients may call."""
_CALL = "/collective_rpc"
_OPEN = {
    "/health": "GET",
    "/inference/v1/generate": "POST",
    "/reset_encoder_cache": "POST",
    "/reset_prefix_cache": "POST",
    _CALL: "POST",
}
_MAX_CALL_BYTES = 4096  # enough for the names of a method and a file


class RolloutGate:
    """Middleware for ``vllm serve --middleware vicur_vllm.rollout_gate.RolloutGate``."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._key = os.environ.get(API_KEY_VARIABLE)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif _OPEN.get(scope["path"]) != scope["method"]:
            await refuse(send, 404, f"{scope['method']} {scope['path']} is not available on a rollout server.")
        elif scope["method"] == "POST" and not self._is_authorized(scope):
            problem = f"The API key is missing or wrong. Set {API_KEY_VARIABLE} to the same value as for this server."
            await refuse(send, 401, problem)
        elif scope["path"] == _CALL:
            await self._call(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_authorized(self, scope: Message) -> bool:
        header: bytes = dict(scope["headers"]).get(b"authorization", b"")
        return not self._key or secrets.compare_digest(header, f"Bearer {self._key}".encode())

    async def _call(self, scope: Message, receive: Receive, send: Send) -> None:
        # vLLM would call any method of its workers, including those that write files.
        body = await read_body(scope, receive, _MAX_CALL_BYTES)
        try:
            call = json.loads(body or b"")
        except ValueError:
            call = None
        if body is None or not isinstance(call, dict) or call.get("method") not in METHODS:
            await refuse(send, 403, f"Only these worker methods can be called: {', '.join(METHODS)}.")
        else:
            await self._app(scope, replayed(body, receive), send)
