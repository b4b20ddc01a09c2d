"""ASGI middleware in front of the routes of a rollout server that restricts routes and worker methods and checks the API key.

vLLM's development endpoints can call any method of its workers, read the environment of the server and put it to sleep, and vLLM does not
require the API key for them. Training needs only two worker methods.

The gate also knows which weights the server holds or loads, and refuses requests for others: after a restart, a server would otherwise
answer with the zeros that it started with.
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
_MAX_DISCARDED_BYTES = 1 << 38  # twice the float32 weights of the largest published student


class RolloutGate:
    """Middleware for ``vllm serve --middleware vicur_vllm.rollout_gate.RolloutGate``."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._key = os.environ.get(API_KEY_VARIABLE)
        self._exchange = os.environ.get(EXCHANGE_VARIABLE)
        self._held: str | None = None
        self._loading: str | None = None
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
            await _answer(send, {"name": self._held, "loading": self._loading})
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
        if wanted and self._loading is not None and wanted != self._loading:
            await refuse(send, 409, f"This server is loading the weights {self._loading}.")
        elif wanted and self._loading is not None:
            await refuse(send, 503, "This server is still loading these weights.", retry_after=1)
        elif wanted and self._held is None:
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
        name = str(next(iter(call.get("args") or ()), ""))
        if self._loading is not None:
            await refuse(send, 503, f"This server is loading the weights {self._loading}.", retry_after=1)
            return
        # While it loads weights, a server has neither the old nor the new ones.
        self._held, self._loading = None, name

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._held, self._loading = name if message["status"] == 200 else None, None
            await send(message)

        try:
            await self._app(scope, replayed(body, receive), observed)
        finally:
            self._loading = None
            self._remove_upload()

    async def _upload(self, name: str, scope: Message, receive: Receive, send: Send) -> None:
        """Write the body of a request to the exchange folder, from which the workers load it."""
        body = _Body(scope, receive)
        problem = await self._written(name, body)
        if problem is None:
            await _answer(send, {"bytes": body.received})
            return
        # A response ends the connection if the body has not been read, and the client would see only that.
        await body.discard()
        status, text = problem
        await refuse(send, status, text, retry_after=1 if status == 503 else None)

    async def _written(self, name: str, body: _Body) -> tuple[int, str] | None:
        """Write an upload. Return the status and the problem if it is refused."""
        if self._exchange is None or not _NAME.fullmatch(name) or body.length is None:
            return 400, "Weights need a name that the training chose, and their length."
        if self._loading is not None:
            return 503, f"This server is loading the weights {self._loading}."
        folder = Path(self._exchange)
        # An earlier upload that was never loaded, or is still arriving: a client that repeats one has given up the first.
        self._remove_upload()
        if shutil.disk_usage(folder).free < body.length:
            return 507, f"{folder} has no room for {body.length / 1e9:.2g} GB of weights. Give the server more memory."
        file = folder / name
        try:
            with file.open("xb") as stream:
                self._uploaded = file
                while chunk := await body.chunk():
                    if self._uploaded is not file:
                        return 409, "Other weights were sent to this server before these had arrived."
                    stream.write(chunk)
        except FileExistsError:
            # Of the training itself, if it shares the folder, or of another one.
            return 400, f"The exchange folder already has a file {name}."
        except OSError as error:
            self._remove_upload(file)
            return 507, f"The weights cannot be written: {error.strerror}."
        if self._uploaded is not file:
            return 409, "Other weights were sent to this server before these had arrived."
        if body.received != body.length:
            self._remove_upload(file)
            return 400, f"{body.received} bytes arrived instead of {body.length}."
        return None

    def _remove_upload(self, file: Path | None = None) -> None:
        """Delete the uploaded file, whose memory is needed. With ``file``, only if it is that one."""
        if self._uploaded is not None and (file is None or file is self._uploaded):
            self._uploaded.unlink(missing_ok=True)
            self._uploaded = None


class _Body:
    """The body of a request, whose length must be declared."""

    def __init__(self, scope: Message, receive: Receive) -> None:
        length = dict(scope["headers"]).get(b"content-length", b"")
        self.length = int(length) if length.isdigit() and len(length) < 20 else None
        self.received = 0
        self._receive = receive
        self._ended = self.length is None

    async def chunk(self) -> bytes:
        """Return the next bytes; none at the end."""
        # At the declared length, the next message would be that the client has left.
        while not self._ended and self.received < (self.length or 0):
            message = await self._receive()
            content: bytes = message.get("body", b"")
            self.received += len(content)
            self._ended = message["type"] == "http.disconnect" or not message.get("more_body")
            if content:
                return content
        return b""

    async def discard(self) -> None:
        """Read what is left, up to a limit."""
        if (self.length or 0) <= _MAX_DISCARDED_BYTES:
            while await self.chunk():
                pass


async def _answer(send: Send, content: dict[str, object]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
