"""ASGI application in front of MLflow's scoring server: all that a stranger may call, within limits.

``POST /invocations`` (MLflow's protocol) and ``POST /v1/chat/completions`` (OpenAI's) are answered here. The server's own routes for health
and version are passed on, and everything else does not exist. No reply contains a traceback or a path of the machine.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from vicur.errors import VicurError
from vicur.processes.asgi import App, Message, Receive, Send, discard_body, read_body, refuse, reply
from vicur.registry.served.bodies import BodyError, Request, parse, require_json
from vicur.registry.served.files import Files
from vicur.registry.served.student import Answer, ServedStudent

log = logging.getLogger(__name__)

INVOCATIONS, CHAT, MODELS = "/invocations", "/v1/chat/completions", "/v1/models"
_PASSED_ON = ("/ping", "/health", "/version")
_ROUTES = {**dict.fromkeys(_PASSED_ON, "GET"), MODELS: "GET", INVOCATIONS: "POST", CHAT: "POST"}
_NAME = "student"
_RETRY_SECONDS = 5
_BUSY = "The server is busy. Retry later."


class _TooManyBytesError(Exception):
    pass


class StudentApp:
    """Answers requests with a student, one at a time.

    Args:
        app: MLflow's application.
        files: access to files for rows.
        key: API key that clients must send; ``None`` requires none.
    """

    def __init__(self, app: App, student: ServedStudent, files: Files, key: str | None = None) -> None:
        self._app, self._student, self._files, self._key = app, student, files, key
        self._limits = student.limits
        self._active = self._held = 0
        # Parsed bodies and decoded images take several times the memory of a body, so one request is processed at a time.
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection's request."""
        match scope["type"]:
            case "lifespan":
                await self._app(scope, receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1008})
            case _:

                async def timed(message: Message) -> None:
                    # A client that does not read its response would keep one of the places.
                    async with asyncio.timeout(self._limits.receive_seconds):
                        await send(message)

                await self._http(scope, receive, timed)

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        refuse_unread = partial(self._refuse_unread, scope, receive, send)
        if (expected := _ROUTES.get(path)) is None:
            available = ", ".join(f"{method} {path}" for path, method in _ROUTES.items())
            await refuse_unread(404, f"There is no such page. Available: {available}.")
        elif method != expected:
            await refuse_unread(405, f"Use {expected} {path}.")
        elif path in _PASSED_ON:
            await self._app(scope, receive, send)
        elif not self._is_authorized(scope):
            await refuse_unread(401, "The API key is missing or wrong. Send it as 'Authorization: Bearer KEY'.")
        elif path == MODELS:
            await reply(send, 200, {"object": "list", "data": [{"id": _NAME, "object": "model", "owned_by": "vicur"}]})
        elif self._active >= self._limits.max_requests:
            await refuse_unread(429, _BUSY, retry_after=_RETRY_SECONDS)
        else:
            self._active += 1
            counted = _Counted()
            try:
                await self._post(scope, receive, send, counted)
            finally:
                self._active -= 1
                self._held -= counted.bytes

    async def _refuse_unread(
        self, scope: Message, receive: Receive, send: Send, status: int, problem: str, *, retry_after: int | None = None
    ) -> None:
        """Refuse a request whose body has not been read. The server would otherwise read it for as long as the client sends."""
        await discard_body(scope, receive, self._limits.max_request_bytes, self._limits.receive_seconds)
        await refuse(send, status, problem, retry_after=retry_after, ends_connection=True)

    def _is_authorized(self, scope: Message) -> bool:
        header: bytes = dict(scope["headers"]).get(b"authorization", b"")
        return not self._key or secrets.compare_digest(header, f"Bearer {self._key}".encode())

    async def _post(self, scope: Message, receive: Receive, send: Send, counted: _Counted) -> None:
        def count(size: int) -> None:
            counted.bytes += size
            self._held += size
            if self._held > self._limits.max_held_bytes:
                raise _TooManyBytesError

        limits = self._limits
        refuse_unread = partial(self._refuse_unread, scope, receive, send)
        try:
            require_json(dict(scope["headers"]).get(b"content-type", b"").decode("latin-1"))
            body = await read_body(
                scope, receive, limits.max_request_bytes, seconds=limits.receive_seconds, on_bytes=count
            )
        except BodyError as error:
            await refuse_unread(error.status, str(error))
        except TimeoutError:
            problem = f"The body did not arrive within {limits.receive_seconds:g} s (receive_seconds)."
            await refuse(send, 408, problem, ends_connection=True)
        except _TooManyBytesError:
            # They are no longer held.
            self._held -= counted.bytes
            counted.bytes = 0
            await refuse_unread(429, _BUSY, retry_after=_RETRY_SECONDS)
        else:
            if body is None:
                problem = f"The body has more than {limits.max_request_bytes:,} bytes (max_request_bytes)."
                await refuse_unread(413, problem)
            else:
                await self._answer(scope["path"], body, receive, send)

    async def _answer(self, path: str, body: bytes, receive: Receive, send: Send) -> None:
        if not await self._wait_for_turn(receive):
            return  # the client has gone
        try:
            request, answers = await asyncio.to_thread(self._answers, body, path == CHAT)
        except BodyError as error:
            respond = partial(refuse, send, error.status, str(error))
        except VicurError as error:
            respond = partial(refuse, send, 400, str(error), param=error.where)
        except Exception:
            reference = uuid.uuid4().hex[:12]
            log.exception("Request %s failed.", reference)
            problem = f"The request failed. The server's log has the reason under {reference}."
            respond = partial(refuse, send, 500, problem)
        else:
            if not request.is_chat:
                respond = partial(reply, send, 200, {"predictions": [prediction(each) for each in answers]})
            elif (wrong := answers[0].error) is not None:
                respond = partial(refuse, send, 400, wrong, param="messages")
            else:
                respond = partial(reply, send, 200, _completion(answers[0]))
        finally:
            self._turn.release()
        # After the turn: a client that does not read its response would keep it.
        await respond()

    def _answers(self, body: bytes, is_chat: bool) -> tuple[Request, Sequence[Answer]]:
        request = parse(body, self._limits, is_chat=is_chat)
        try:
            return request, self._student.answer(request.rows, request.params, self._files)
        except VicurError as error:
            # Only a parameter is the client's mistake. Another error names the model's folder.
            if (error.where or "").partition(".")[0] != "params":
                raise RuntimeError(str(error)) from error
            raise

    async def _wait_for_turn(self, receive: Receive) -> bool:
        """Wait until no other request is processed. Returns false, without the turn, if the client disconnects meanwhile."""
        turn = asyncio.ensure_future(self._turn.acquire())
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((turn, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not turn.done():
                turn.cancel()
        return turn.done() and not turn.cancelled()


class _Counted:
    def __init__(self) -> None:
        self.bytes = 0


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def prediction(answer: Answer) -> dict[str, str | None]:
    """Return the fields of an answer that callers get."""
    return {"answer": answer.answer, "response": answer.response, "error": answer.error}


def _completion(answer: Answer) -> dict[str, Any]:
    usage = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.tokens}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": math.floor(time.time()),
        "model": _NAME,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.response},
                "finish_reason": "stop" if answer.finished else "length",
            }
        ],
        "usage": {**usage, "total_tokens": sum(usage.values())},
    }
