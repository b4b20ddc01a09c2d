"""A double of an OpenAI-compatible server (as vLLM's), in this process.

It holds each request against the types of OpenAI's own client and makes its answers of them; what it answers, a test decides.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter, with_config

_REQUEST = TypeAdapter(with_config(extra="forbid")(CompletionCreateParamsNonStreaming))


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        body: its JSON.
        headers: in lower case.
        number: of its example's requests, from 1.
    """

    body: dict[str, Any]
    headers: dict[str, str]
    number: int

    @property
    def text(self) -> str:
        """The user's text."""
        return self.body["messages"][-1]["content"][-1]["text"]

    @property
    def images(self) -> list[tuple[str, bytes]]:
        """Media type and bytes of each image."""
        urls = [part["image_url"]["url"] for part in self.body["messages"][-1]["content"][:-1]]
        parts = [url.removeprefix("data:").split(";base64,") for url in urls]
        return [(kind, base64.b64decode(data, validate=True)) for kind, data in parts]


@dataclass(frozen=True)
class Reply:
    """What the double answers.

    Attributes:
        content: the model's text.
        finish_reason: why it ended.
        status: HTTP status; other than 200, ``content`` is the error's message.
        headers: of the answer.
        after: seconds to wait before it.
        drop: close the connection without an answer.
        raw: body to send in place of one that the API would give.
    """

    content: str | None = None
    finish_reason: str = "stop"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0
    drop: bool = False
    raw: bytes | None = None

    def body(self, model: str) -> bytes:
        """The answer's body."""
        if self.raw is not None:
            return self.raw
        if self.status != 200:
            return json.dumps({"error": {"message": self.content, "type": "error", "code": self.status}}).encode()
        message = {"role": "assistant", "content": self.content}
        choice = {"index": 0, "finish_reason": self.finish_reason, "message": message, "logprobs": None}
        return (
            ChatCompletion.model_validate(
                {"id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}
            )
            .model_dump_json()
            .encode()
        )


class OpenAIDouble(ThreadingHTTPServer):
    """The server.

    Attributes:
        answer: says what to reply to a request.
        asked: all requests, as they came.
        most_at_once: how many were under way at the same time.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self.at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Address of its API."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: object) -> None:
        """A client that has gone is no fault."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OpenAIDouble

    def do_POST(self) -> None:
        double = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self._send(404, b'{"detail":"Not Found"}', {})
            return
        _REQUEST.validate_python(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        with double.lock:
            number = 1 + sum(earlier.body == body for earlier in double.asked)
            asked = Asked(body, headers, number)
            double.asked.append(asked)
            double.at_once += 1
            double.most_at_once = max(double.most_at_once, double.at_once)
        try:
            reply = double.answer(asked)
            time.sleep(reply.after)
        finally:
            with double.lock:
                double.at_once -= 1
        if reply.drop:
            self.close_connection = True
            return
        self._send(reply.status, reply.body(body["model"]), reply.headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def openai_double(answer: Callable[[Asked], Reply]) -> Iterator[OpenAIDouble]:
    """Runs the double."""
    with OpenAIDouble(answer) as double:
        thread = threading.Thread(target=double.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield double
        finally:
            double.shutdown()
            thread.join()
