"""A double of the Hugging Face Hub, which tests cannot reach: lists a commit's files and serves them, also by range.

It implements the requests of huggingface_hub 2.4, and returns 404 for all others.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPOSITORY = "lab/tiny-model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """A repository with one commit.

    Attributes:
        files: content by path.
        kind: kind of the repository, as in the API's paths: "models" or "datasets".
        credential: token that requests must have, as for a gated model.
        corrupted: paths whose first byte is changed in transit.
        broken: paths whose connection breaks off once, after half of the bytes.
        busy: number of further requests that are answered with 503.
        delay: seconds before a file is sent.
        requests: method and path of each request so far.
    """

    files: dict[str, bytes]
    credential: str | None = None
    corrupted: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    busy: int = 0
    delay: float = 0.0
    kind: str = "models"
    requests: list[str] = field(default_factory=list)
    address: str = ""

    def siblings(self) -> list[dict[str, object]]:
        """Return the commit's files as they are part of its description."""
        return [{"rfilename": each["path"], "size": each["size"], "blobId": each["oid"]} for each in self.listing()]

    def listing(self) -> list[dict[str, object]]:
        """Return the commit's files as the Hub lists them: weights by SHA-256, the others by git blob id."""
        entries = []
        for path, content in self.files.items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_id(content)}
            if path.endswith((".safetensors", ".bin", ".parquet")):
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            entries.append(entry)
        return entries


def git_id(content: bytes) -> str:
    """Return the id of a git blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.busy > 0:
            self.hub.busy -= 1
            return self._send(503, b"{}", {"Retry-After": "1"}, body)
        if self.hub.credential and self.headers.get("Authorization") != f"Bearer {self.hub.credential}":
            return self._send(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"}, body)
        api = f"/api/{self.hub.kind}"
        if path == f"{api}/{REPOSITORY}/tree/{COMMIT}":
            return self._send(200, json.dumps(self.hub.listing()).encode(), {"Content-Type": "application/json"}, body)
        if path in (f"{api}/{REPOSITORY}", *(f"{api}/{REPOSITORY}/revision/{r}" for r in ("main", COMMIT))):
            info = {"id": REPOSITORY, "sha": COMMIT, "siblings": self.hub.siblings()}
            return self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"}, body)
        if path.startswith((f"{api}/{REPOSITORY}/tree/", f"{api}/{REPOSITORY}/revision/")):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body)
        if path.startswith(f"{api}/"):
            return self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
        page = REPOSITORY if self.hub.kind == "models" else f"{self.hub.kind}/{REPOSITORY}"
        name = path.removeprefix(f"/{page}/resolve/{COMMIT}/")
        if name not in self.hub.files:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
        return self._file(name, body)

    def _file(self, name: str, body: bool) -> None:
        time.sleep(self.hub.delay if body else 0)
        content = self.hub.files[name]
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        if name in self.hub.corrupted:
            content = bytes([content[0] ^ 1]) + content[1:]
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        start = int(first)
        whole = len(content)
        content = content[: int(last) + 1] if last else content
        if start or last:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{whole}"
        if body and name in self.hub.broken:
            self.hub.broken.discard(name)
            self.send_response(200)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self._send(206 if start or last else 200, content[start:], headers, body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep the test output quiet."""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a repository at ``hub.address``."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
