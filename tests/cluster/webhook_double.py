"""A double of the server behind a webhook."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from vicur.cluster.webhook import ADDRESS


@dataclass
class Webhook:
    """A server that records what is posted to it and answers with ``status``. One that drips never ends its answer."""

    address: str = ""
    status: int = 200
    drips: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.paths.append(self.path)
            hook.events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(hook.status)
            if hook.status == HTTPStatus.FOUND:
                self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere")
            self.end_headers()
            while hook.drips:
                self.wfile.write(b".")
                time.sleep(0.05)

        def do_GET(self) -> None:
            self.send_response(HTTPStatus.OK)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hook.address = f"http://127.0.0.1:{server.server_port}/hook?token=hush"
    monkeypatch.setenv(ADDRESS, hook.address)
    yield hook
    hook.drips = False
    server.shutdown()
    server.server_close()
