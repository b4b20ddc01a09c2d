"""ASGI middleware in front of the routes of a rollout server that restricts routes and worker methods and checks the API key.

vLLM's development endpoints can call any method of its workers, read the environment of the server and put it to sleep, and vLLM does not
require the API key for them. Training needs only two worker methods.

The gate also knows which weights the server holds, and refuses requests for others: after a restart, a server would otherwise answer
with the zeros that it started with.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from pathlib import Path

from vicur.config.vllm import API_KEY_VARIABLE
from vicur.processes.asgi import App, Message, Receive, Send, read_body, refuse, replayed

METHODS = ("vicur_take_weights", "vicur_held_weights")
"""Worker methods that clients may call."""
EXCHANGE_VARIABLE = "VICUR_EXCHANGE"
"""Environment variable with the folder that weights are loaded from."""
_TAKE = METHODS[0]
_CALL, _GENERATE, _WEIGHTS = "/collective_rpc", "/inference/v1/generate", "/vicur/weights"
_OPEN = {
    "/health": "GET",
    _WEIGHTS: "GET",
    _GENERATE: "POST",
    "/reset_encoder_cache": "POST",
    "/reset_prefix_cache": "POST",
    _CALL: "POST",
}
_HEADER = b"x-vicur-weights"
_NAME = re.compile(r"\.?vicur-weights-[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_MAX_CALL_BYTES = 4096  # enough for the names of a method and a file


class RolloutGate:
    """Middleware for ``vllm serve --middleware vicur_vllm.rollout_gate.RolloutGate``."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._key = os.environ.get(API_KEY_VARIABLE)
        self._exchange = os.environ.get(EXCHANGE_VARIABLE)
        self._held: str | None = None
        self._uploaded: Path | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        path, method = scope["path"], scope["method"]
        uploads = method == "POST" and path.startswith(f"{_WEIGHTS}/")
        if not uploads and _OPEN.get(path) != method:
            await refuse(send, 404, f"{method} {path} is not available on a rollout server.")
        elif path != "/health" and not self._is_authorized(scope):
            problem = f"The API key is missing or wrong. Set {API_KEY_VARIABLE} to the same value as for this server."
            await refuse(send, 401, problem)
        elif uploads:
            await self._upload(path.removeprefix(f"{_WEIGHTS}/"), scope, receive, send)
        elif path == _WEIGHTS:
            await _answer(send, {"name": self._held})
        elif path == _CALL:
            await self._call(scope, receive, send)
        elif path == _GENERATE:
            await self._generate(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_authorized(self, scope: Message) -> bool:
        header: bytes = dict(scope["headers"]).get(b"authorization", b"")
        return not self._key or secrets.compare_digest(header, f"Bearer {self._key}".encode())

    async def _generate(self, scope: Message, receive: Receive, send: Send) -> None:
        wanted = dict(scope["headers"]).get(_HEADER, b"").decode("latin-1")
        if wanted and self._held is None:
            await refuse(send, 503, "This server has no weights yet. It may have restarted.", retry_after=1)
        elif wanted and wanted != self._held:
            await refuse(send, 409, f"This server holds the weights {self._held}.")
        else:
            await self._app(scope, receive, send)

    async def _call(self, scope: Message, receive: Receive, send: Send) -> None:
        # vLLM would call any method of its workers, including those that write files.
        body = await read_body(scope, receive, _MAX_CALL_BYTES)
        try:
            call = json.loads(body or b"")
        except ValueError:
            call = None
        if body is None or not isinstance(call, dict) or call.get("method") not in METHODS:
            await refuse(send, 403, f"Only these worker methods can be called: {', '.join(METHODS)}.")
            return
        if call["method"] != _TAKE:
            await self._app(scope, replayed(body, receive), send)
            return
        # While it loads weights, a server has neither the old nor the new ones.
        self._held = None

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                self._held = str(next(iter(call.get("args") or ()), ""))
            await send(message)

        try:
            await self._app(scope, replayed(body, receive), observed)
        finally:
            self._remove_upload()

    async def _upload(self, name: str, scope: Message, receive: Receive, send: Send) -> None:
        """Write the body of a request to the exchange folder, from which the workers load it."""
        length = dict(scope["headers"]).get(b"content-length", b"")
        if self._exchange is None or not _NAME.fullmatch(name) or not length.isdigit():
            await refuse(send, 400, "Weights need a name that the training chose, and their length.")
            return
        folder = Path(self._exchange)
        self._remove_upload()
        if shutil.disk_usage(folder).free < int(length):
            await refuse(
                send,
                507,
                f"{folder} has no room for {int(length) / 1e9:.2g} GB of weights. Give the server more memory.",
            )
            return
        self._uploaded, received = folder / name, 0
        try:
            with self._uploaded.open("xb") as stream:
                while received < int(length):
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        break
                    stream.write(message.get("body", b""))
                    received += len(message.get("body", b""))
                    if not message.get("more_body"):
                        break
        except OSError as error:
            self._remove_upload()
            await refuse(send, 507, f"The weights cannot be written: {error.strerror}.")
            return
        if received != int(length):
            self._remove_upload()
            await refuse(send, 400, f"{received} bytes arrived instead of {int(length)}.")
            return
        await _answer(send, {"bytes": received})

    def _remove_upload(self) -> None:
        # The workers have read it, or it was cut off. Its memory is needed.
        if self._uploaded is not None:
            self._uploaded.unlink(missing_ok=True)
            self._uploaded = None


async def _answer(send: Send, content: dict[str, object]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
