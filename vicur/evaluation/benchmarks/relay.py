"""A relay between the harness and the judge, so that no failed call goes unnoticed.

The harness turns a judge that does not answer into wrong answers, and reports a failure rate of 0 %. Therefore it talks to this relay on
loopback, which asks the judge, counts, and keeps every reply for the next attempt. After the first call without a reply, the relay is
``failed`` and answers no more; the caller then ends the harness and discards what it wrote. The API key stays in this process.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vicur.evaluation.benchmarks.judge import Judge, JudgeError, JudgeIdentity

_LARGEST_REQUEST = 4 << 20  # bytes


class Relay(ThreadingHTTPServer):
    """The server. It listens on loopback, below a path that only the harness knows."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, judge: Judge, identity: JudgeIdentity, kept: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failed = threading.Event()
        self.failure = ""
        self.calls = 0
        self._judge, self._identity, self._kept = judge, identity, kept
        self._token = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._replies: dict[str, list[str]] = defaultdict(list)
        self._used: dict[str, int] = defaultdict(int)
        self._read_kept()

    @property
    def url(self) -> str:
        """Address of the chat completions."""
        return f"http://127.0.0.1:{self.server_address[1]}{self.path}"

    @property
    def path(self) -> str:
        """Path of the chat completions."""
        return f"/{self._token}/chat/completions"

    def reply_to(self, body: bytes) -> str | None:
        """Return the text of a reply, of the judge or of an earlier attempt, or ``None`` if there is none."""
        try:
            request = json.loads(body)
            if not isinstance(request, dict):
                raise ValueError("not an object")
        except ValueError:
            self._fail("the harness sent a request that is no JSON object")
            return None
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        with self._lock:
            self.calls += 1
            # The harness may ask the same again, hoping for another reply.
            place = self._used[key]
            self._used[key] += 1
            if place < len(self._replies[key]):
                return self._replies[key][place]
        if self.failed.is_set():
            return None
        try:
            reply = self._judge.ask(request)
        except JudgeError as error:
            self._fail(f"does not answer call {self.calls:,}: {error}")
            return None
        served = self._judge.identity(reply)
        if served != self._identity:
            self._fail(f"is {served.served or 'another model'} now; it was {self._identity.served} at the start")
            return None
        text = json.dumps(reply)
        self._keep(key, text)
        return text

    def handle_error(self, *_: object) -> None:
        """Ignore a harness that closes the connection."""

    def _fail(self, reason: str) -> None:
        with self._lock:
            self.failure = self.failure or reason
        self.failed.set()

    def _keep(self, key: str, text: str) -> None:
        with self._lock, self._kept.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps([key, text]) + "\n")

    def _read_kept(self) -> None:
        if not self._kept.is_file():
            return
        with self._kept.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    key, text = json.loads(line)
                except (ValueError, TypeError):
                    continue  # empty, or cut off when the process was killed
                self._replies[str(key)].append(str(text))


class _Handler(BaseHTTPRequestHandler):
    server: Relay

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if self.path != self.server.path or not 0 <= length <= _LARGEST_REQUEST:
            self._send(404, {"error": {"message": "not found"}})
            return
        text = self.server.reply_to(self.rfile.read(length))
        if text is None:
            self._send(503, {"error": {"message": "the judge does not answer"}})
            return
        self._send(200, json.loads(text))

    def _send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def relay_to(judge: Judge, identity: JudgeIdentity, kept: Path) -> Iterator[Relay]:
    """Run a relay in a thread. Replies are kept in the file ``kept``."""
    with Relay(judge, identity, kept) as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()
