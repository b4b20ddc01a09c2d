"""A double of the Kubernetes API for readers: lists of objects by path, with selectors, single objects, and logs of pods.

Like the real one, it answers 404 for a kind that is not installed and 403 for a list that the account may not read.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Json = dict[str, Any]
_LOG = re.compile(r"/api/v1/namespaces/[^/]+/pods/(?P<pod>[^/]+)/log")


@dataclass
class KubernetesDouble:
    """A cluster's objects by the path of their list, such as ``/api/v1/namespaces/kubeflow/pods``."""

    lists: dict[str, list[Json]] = field(default_factory=dict)
    objects: dict[str, Json] = field(default_factory=dict)  # other answers by path
    logs: dict[str, str] = field(default_factory=dict)  # by the name of the pod
    forbidden: set[str] = field(default_factory=set)  # paths that the account may not read
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def kubeconfig(self, namespace: str = "default") -> str:
        """Return a kubeconfig for this server, as YAML."""
        context = {"cluster": "double", "user": "me", "namespace": namespace}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "double", "cluster": {"server": self.url}}],
                "users": [{"name": "me", "user": {}}],
                "contexts": [{"name": "double", "context": context}],
                "current-context": "double",
            }
        )


def pod(
    name: str, labels: Json, *, code: int = 1, reason: str = "Error", limits: Json | None = None, **status: Any
) -> Json:
    """Return a pod of a step that ended with an exit status."""
    ended = {"terminated": {"exitCode": code, "reason": reason}}
    return {
        "metadata": {"name": name, "labels": labels, "annotations": status.pop("annotations", {})},
        "spec": {"containers": [{"name": "wait"}, {"name": "main", "resources": {"limits": limits or {}}}]},
        "status": {
            "phase": "Failed",
            "containerStatuses": [
                {"name": name, "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
                for name, state in (("wait", {"terminated": {"exitCode": 0}}), ("main", ended))
            ],
            **status,
        },
    }


def api_groups(**versions: str) -> Json:
    """Return the answer to ``/apis/`` of a cluster that serves groups, such as ``kueue="kueue.x-k8s.io/v1beta2"``."""
    served = [each.split("/") for each in versions.values()]
    groups = [
        {"name": name, "versions": [{"groupVersion": f"{name}/{version}", "version": version}]}
        for name, version in served
    ]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


@contextmanager
def serving_kubernetes(double: KubernetesDouble) -> Iterator[KubernetesDouble]:
    """Serve a double on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(double))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    double.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()


def _handler(double: KubernetesDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(place.query).items()}
            double.requests.append(place.path)
            if match := _LOG.fullmatch(place.path):
                self._log(match["pod"], int(query.get("tailLines", 10**6)))
            elif place.path in double.forbidden:
                self._send(403, _status(403, "Forbidden", f"User cannot list {place.path}"))
            elif place.path in double.objects:
                self._send(200, double.objects[place.path])
            elif place.path in double.lists:
                items = [each for each in double.lists[place.path] if _matches(each, query)]
                self._send(200, {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
            else:
                self._send(404, _status(404, "NotFound", "the server could not find the requested resource"))

        def _log(self, name: str, lines: int) -> None:
            if name not in double.logs:
                self._send(404, _status(404, "NotFound", f'pods "{name}" not found'))
                return
            self._write(200, "text/plain", "".join(double.logs[name].splitlines(keepends=True)[-lines:]).encode())

        def _send(self, code: int, body: Json) -> None:
            self._write(code, "application/json", json.dumps(body).encode())

        def _write(self, code: int, kind: str, data: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _matches(item: Json, query: dict[str, str]) -> bool:
    labels = item["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in _pairs(query.get("labelSelector", ""))):
        return False
    fields = {
        f"{outer}.{name}": value for outer in ("metadata", "status") for name, value in item.get(outer, {}).items()
    }
    return all(fields.get(key) == value for key, value in _pairs(query.get("fieldSelector", "")))


def _pairs(selector: str) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (each.partition("=") for each in selector.split(",") if each)]


def _status(code: int, reason: str, message: str) -> Json:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }
