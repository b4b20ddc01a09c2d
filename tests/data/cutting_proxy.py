"""A proxy in front of an S3 server that fails as networks, dying machines, busy stores and expired logins do."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PASSED_ON = ("authorization", "range", "if-match", "host")


class CuttingProxy(ThreadingHTTPServer):
    """Forwards GET requests to ``behind``.

    Attributes:
        cut_after: number of bytes of an object after which the connection is closed; ``None`` for no limit.
        cuts: number of connections that are still to be closed.
        refusals: responses (status, code) to the next requests, instead of the server's.
        refuse_after: number of requests that are still served before the refusals.
        wrong: number of objects whose next response has a wrong byte.
        short: number of objects whose next response lacks its second half, and says so in its length.
        page: number of keys in a page of a listing; ``None`` for the server's own.
        listings: number of requests for a page of a listing.
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
        self.refusals: list[tuple[int, str]] = []
        self.refuse_after = 0
        self.wrong = 0
        self.short = 0
        self.page: int | None = None
        self.listings = 0
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
        if (refusal := self._refusal()) is not None:
            self._refuse(*refusal)
            return
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() in _PASSED_ON or name.lower().startswith("x-amz-")
        }
        path = self.path
        is_listing = "list-type" in path
        if is_listing:
            self.server.listings += 1
            path += f"&max-keys={self.server.page}" if self.server.page else ""
        request = urllib.request.Request(self.server.behind + path, headers=headers)  # noqa: S310 (our own server)
        try:
            answer = urllib.request.urlopen(request, timeout=10)  # noqa: S310
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            body = answer.read()
            is_object = answer.status in (200, 206) and not is_listing
            if is_object:
                body = self._damaged(body)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
        if is_object:
            self._object(body)
        else:
            self.wfile.write(body)

    def _refusal(self) -> tuple[int, str] | None:
        proxy = self.server
        with proxy.lock:
            if proxy.refuse_after:
                proxy.refuse_after -= 1
                return None
            return proxy.refusals.pop(0) if proxy.refusals else None

    def _refuse(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _damaged(self, body: bytes) -> bytes:
        proxy = self.server
        with proxy.lock:
            if proxy.wrong and body:
                proxy.wrong -= 1
                return bytes([body[0] ^ 1]) + body[1:]
            if proxy.short and body:
                proxy.short -= 1
                return body[: len(body) // 2]
        return body

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
