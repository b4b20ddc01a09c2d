"""Double of the REST server of a Kubeflow Model Registry (API v1alpha3), which needs Go and MySQL or PostgreSQL.

It validates each request with the types that the registry's Python client generates from the published OpenAPI document, and behaves as its
source does: 201 for new objects, 404 for unknown ones, 409 for a name that exists, and properties that an update does not name stay.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from mr_openapi import (
    ModelArtifact,
    ModelArtifactUpdate,
    ModelVersionCreate,
    ModelVersionUpdate,
    RegisteredModelCreate,
    RegisteredModelUpdate,
)

API = "/api/model_registry/v1alpha3"


@dataclass
class KubeflowRegistryDouble:
    """The server's content and the faults that it shows."""

    url: str = ""
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    """HTTP statuses of the next responses to requests that change something. 0 closes the connection after the change."""
    token: str | None = None
    """Token that requests must have; ``None`` accepts all."""

    def version(self, number: str) -> dict[str, Any]:
        return next(each for each in self.versions.values() if each["name"] == number)

    def properties(self, number: str) -> dict[str, str]:
        return {k: v["string_value"] for k, v in self.version(number)["customProperties"].items()}

    def labels(self, number: str) -> set[str]:
        return {key for key, value in self.properties(number).items() if not value}

    def artifact(self, number: str) -> dict[str, Any]:
        (found,) = (a for a in self.artifacts.values() if a["version"] == self.version(number)["id"])
        return found


class _Handler(BaseHTTPRequestHandler):
    content: ClassVar[KubeflowRegistryDouble]
    ids: ClassVar[Iterator[int]]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, query = self._request()
        content = self.content
        if not self._allowed():
            return
        if path == "/registered_models":
            self._page(list(content.models.values()), query)
        elif path == "/registered_model":
            named = [each for each in content.models.values() if each["name"] == query["name"]]
            self._reply(200, named[0]) if named else self._reply(404, {"code": "404", "message": "not found"})
        elif match := re.fullmatch(r"/registered_models/(\d+)/versions", path):
            self._page([v for v in content.versions.values() if v["registeredModelId"] == match[1]], query)
        elif match := re.fullmatch(r"/model_versions/(\d+)/artifacts", path):
            self._page([a for a in content.artifacts.values() if a["version"] == match[1]], query)
        else:
            self._reply(404, {"code": "404", "message": "no such path"})

    def do_POST(self) -> None:
        path, _ = self._request()
        body = self._body()
        if not self._allowed() or self._fails():
            return
        if path == "/registered_models":
            RegisteredModelCreate.from_dict(body)
            self._create(self.content.models, body, [("name", body["name"])])
        elif path == "/model_versions":
            ModelVersionCreate.from_dict(body)
            key = [("name", body["name"]), ("registeredModelId", body["registeredModelId"])]
            self._create(self.content.versions, body, key)
        elif match := re.fullmatch(r"/model_versions/(\d+)/artifacts", path):
            ModelArtifact.from_dict(body)
            self._create(
                self.content.artifacts,
                {"state": "LIVE", **body, "version": match[1]},
                [("name", body["name"]), ("version", match[1])],
            )
        else:
            self._reply(404, {"code": "404", "message": "no such path"})

    def do_PATCH(self) -> None:
        path, _ = self._request()
        body = self._body()
        if not self._allowed() or self._fails():
            return
        kinds = {
            "registered_models": (self.content.models, RegisteredModelUpdate),
            "model_versions": (self.content.versions, ModelVersionUpdate),
            "model_artifacts": (self.content.artifacts, ModelArtifactUpdate),
        }
        _, kind, number = path.split("/")
        objects, shape = kinds[kind]
        shape.from_dict(body)
        if number not in objects:
            self._reply(404, {"code": "404", "message": "not found"})
            return
        objects[number] |= {key: value for key, value in body.items() if value is not None}
        self._reply(200, objects[number])

    def _request(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        self.content.requests.append(f"{self.command} {parts.path}")
        self.content.tokens.add((self.headers["Authorization"] or "").removeprefix("Bearer ") or None)
        return parts.path.removeprefix(API), {key: values[0] for key, values in parse_qs(parts.query).items()}

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return body

    def _allowed(self) -> bool:
        token = self.content.token
        if not self.path.startswith(API):
            self._reply(404, {"code": "404", "message": "no such path"})
            return False
        if token is None or self.headers["Authorization"] == f"Bearer {token}":
            return True
        self._reply(401, {"code": "401", "message": "no token"})
        return False

    def _fails(self) -> bool:
        if not self.content.faults or self.content.faults[0] == 0:
            return False
        self._reply(self.content.faults.pop(0), {"code": "500", "message": "the database is away"})
        return True

    def _create(self, objects: dict[str, dict[str, Any]], body: dict[str, Any], unique: list[tuple[str, str]]) -> None:
        if any(all(each[key] == value for key, value in unique) for each in objects.values()):
            self._reply(409, {"code": "409", "message": f"{body['name']} already exists"})
            return
        number = str(next(self.ids))
        objects[number] = {"state": "LIVE"} | {k: v for k, v in body.items() if v is not None} | {"id": number}
        if self.content.faults and self.content.faults.pop(0) == 0:
            self.close_connection = True
            self.connection.close()
            return
        self._reply(201, objects[number])

    def _page(self, items: list[dict[str, Any]], query: dict[str, str]) -> None:
        size, start = int(query.get("pageSize", 100)), int(query.get("nextPageToken") or 0)
        token = str(start + size) if start + size < len(items) else ""
        page = {"items": items[start : start + size], "nextPageToken": token, "pageSize": size, "size": len(items)}
        self._reply(200, page)

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps({key: value for key, value in body.items() if key != "version"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def kubeflow_registry() -> Iterator[KubeflowRegistryDouble]:
    """Serve an empty registry."""
    content = KubeflowRegistryDouble()
    handler = type("Handler", (_Handler,), {"content": content, "ids": itertools.count(1)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        content.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield content
        finally:
            server.shutdown()
            thread.join()
