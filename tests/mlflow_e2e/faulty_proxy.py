"""An HTTP proxy in front of MLflow that shows faults: error statuses, lost responses, and actions between a request and its response."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection", "content-length", "host"}


@dataclass
class Fault:
    """What happens to requests that match.

    Attributes:
        pattern: regular expression of ``METHOD path``.
        times: number of requests that it happens to.
        status: status of the response, in place of the server's. The request does not arrive.
        loses_response: the request arrives, and the connection ends without a response.
        before: called before the request is forwarded.
    """

    pattern: str
    times: int = 1
    status: int | None = None
    loses_response: bool = False
    before: Callable[[], object] | None = None
    seen: int = 0


@dataclass
class FaultyProxy:
    """The proxy's address and the faults that it shows."""

    target: int
    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fault(self, request: str) -> Fault | None:
        with self.lock:
            self.requests.append(request)
            for each in self.faults:
                if each.seen < each.times and re.search(each.pattern, request):
                    each.seen += 1
                    return each
        return None


class _Handler(BaseHTTPRequestHandler):
    proxy: ClassVar[FaultyProxy]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _forward(self) -> None:
        body = self._read()
        fault = self.proxy.fault(f"{self.command} {self.path}")
        if fault is not None and fault.before is not None:
            fault.before()
        if fault is not None and fault.status is not None:
            self._send(fault.status, [("Content-Type", "text/html")], b"<html><body>upstream</body></html>")
            return
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.proxy.target, timeout=120)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            connection.request(self.command, self.path, body, {**headers, "Host": f"127.0.0.1:{self.proxy.port}"})
            response = connection.getresponse()
            data = response.read()
        except OSError:
            # As a proxy whose server is gone.
            self._send(502, [("Content-Type", "text/html")], b"<html><body>bad gateway</body></html>")
            return
        if fault is not None and fault.loses_response:
            self.close_connection = True
            return
        self._send(response.status, [(k, v) for k, v in response.getheaders() if k.lower() not in _HOP], data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def faulty_proxy(target: int) -> Iterator[FaultyProxy]:
    """Forward to a port of this machine, without faults at first."""
    proxy = FaultyProxy(target)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy})) as server:
        server.daemon_threads = True
        proxy.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
