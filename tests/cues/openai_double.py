"""In-process double of an OpenAI-compatible server such as vLLM's.

Validates each request against the types of OpenAI's client and builds replies from them. Each test defines the content of the replies.
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
class ReceivedRequest:
    """A request that the double received."""

    body: dict[str, Any]
    headers: dict[str, str]  # names in lower case
    number: int  # 1 for the first request with this body

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
    """A reply of the double."""

    content: str | None = None  # the model's text or, with a status other than 200, the error message
    finish_reason: str = "stop"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0  # delay in seconds
    drop: bool = False  # close the connection without a reply
    raw: bytes | None = None  # body that replaces the one of the API

    def body(self, model: str) -> bytes:
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
    """The server. Records all requests and the largest number of concurrent ones."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, reply_to: Callable[[ReceivedRequest], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply_to = reply_to
        self.requests: list[ReceivedRequest] = []
        self.most_concurrent = 0
        self.concurrent = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: object) -> None:
        """Ignore clients that close the connection."""


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
            number = 1 + sum(earlier.body == body for earlier in double.requests)
            request = ReceivedRequest(body, headers, number)
            double.requests.append(request)
            double.concurrent += 1
            double.most_concurrent = max(double.most_concurrent, double.concurrent)
        try:
            reply = double.reply_to(request)
            time.sleep(reply.after)
        finally:
            with double.lock:
                double.concurrent -= 1
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
def openai_double(reply_to: Callable[[ReceivedRequest], Reply]) -> Iterator[OpenAIDouble]:
    """Run the double in a thread."""
    with OpenAIDouble(reply_to) as double:
        thread = threading.Thread(target=double.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield double
        finally:
            double.shutdown()
            thread.join()
