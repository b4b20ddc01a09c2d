"""What stands before the routes of a rollout server: those that a training asks, and its key where one is set.

vLLM's development endpoints let whoever reaches them call any method of its workers, read the server's environment, and put it to sleep;
vLLM's own key does not guard them. A training needs three of its workers' methods.
"""

from __future__ import annotations

import json
import os
import secrets

from vicur.config.vllm import API_KEY_VARIABLE
from vicur_vllm.asgi import App, Message, Receive, Send, refuse, replayed, whole_body

METHODS = ("vicur_take_weights", "vicur_held_weights", "vicur_given")
"""Methods of the workers that may be called."""
_CALL = "/collective_rpc"
_OPEN = {
    "/health": "GET",
    "/inference/v1/generate": "POST",
    "/reset_encoder_cache": "POST",
    "/reset_prefix_cache": "POST",
    _CALL: "POST",
}
_LONGEST_CALL = 4096  # bytes: a method's name and that of a file


class RolloutGate:
    """ASGI middleware, for ``--middleware vicur_vllm.rollout_gate.RolloutGate``.

    Args:
        app: what a request goes on to.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._key = os.environ.get(API_KEY_VARIABLE)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Lets a request through, or says why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif _OPEN.get(scope["path"]) != scope["method"]:
            await refuse(send, 404, f"A rollout server has no {scope['method']} {scope['path']}.")
        elif scope["method"] == "POST" and not self._knows(scope):
            await refuse(send, 401, f"The key is missing or wrong: set {API_KEY_VARIABLE} as this server has it.")
        elif scope["path"] == _CALL:
            await self._call(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _knows(self, scope: Message) -> bool:
        """Whether who asks has the key, where there is one."""
        shown: bytes = dict(scope["headers"]).get(b"authorization", b"")
        return not self._key or secrets.compare_digest(shown, f"Bearer {self._key}".encode())

    async def _call(self, scope: Message, receive: Receive, send: Send) -> None:
        """Lets the methods through that a training calls."""
        body = await whole_body(scope, receive, _LONGEST_CALL)
        try:
            asked = json.loads(body or b"")
        except ValueError:
            asked = None
        if body is None or not isinstance(asked, dict) or asked.get("method") not in METHODS:
            await refuse(send, 403, f"A rollout server's workers are asked for {', '.join(METHODS)} alone.")
        else:
            await self._app(scope, replayed(body, receive), send)
