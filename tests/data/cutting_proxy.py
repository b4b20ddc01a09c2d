"""A proxy in front of an S3 server that breaks off or stalls response bodies, as networks and dying machines do."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PASSED_ON = ("authorization", "range", "if-match")


class CuttingProxy(ThreadingHTTPServer):
    """Forwards GET requests to ``behind``.

    Attributes:
        cut_after: number of bytes of an object after which the connection is closed; ``None`` for no limit.
        cuts: number of connections that are still to be closed.
        halt_after: number of bytes of an object after which the response stalls; ``None`` for no limit.
        served: number of bytes of objects that were forwarded.
        requests: path and range of each request for an object.
    """

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind
        self.cut_after: int | None = None
        self.cuts = 0
        self.halt_after: int | None = None
        self.released = threading.Event()
        self.served = 0
        self.requests: list[tuple[str, str | None]] = []
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Ignore clients that have disconnected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CuttingProxy

    def do_GET(self) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() in _PASSED_ON}
        request = urllib.request.Request(self.server.behind + self.path, headers=headers)  # noqa: S310 (our own server)
        try:
            answer = urllib.request.urlopen(request, timeout=10)  # noqa: S310
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
        if answer.status in (200, 206) and "list-type" not in self.path:
            self._object(body)
        else:
            self.wfile.write(body)

    def _object(self, body: bytes) -> None:
        proxy = self.server
        with proxy.lock:
            proxy.requests.append((self.path.partition("?")[0], self.headers.get("Range")))
            end = len(body)
            cut = proxy.cut_after is not None and proxy.cut_after < end and proxy.cuts > 0
            if cut:
                proxy.cuts -= 1
                end = proxy.cut_after
            elif proxy.halt_after is not None:
                end = min(end, proxy.halt_after)
            proxy.served += end
        self.wfile.write(body[:end])
        self.wfile.flush()
        if cut:
            self.close_connection = True
        elif end < len(body):
            proxy.released.wait(60)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def cutting_proxy(behind: str) -> Iterator[CuttingProxy]:
    """Run the proxy."""
    with CuttingProxy(behind) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.released.set()
            proxy.shutdown()
            thread.join()
