"""Double of the Kubernetes API server, with the controllers behind TrainJobs: an HTTP server in this process.

It supports the requests of launcher and exit step: get, list, watch, create, patch and delete of TrainJobs, pods with their logs, events,
Argo's workflows, and the published schema; with versions, conflicts, watches that end, deletion that waits for pods, and faults that a
test injects.

It was written from the documentation and source of Kubernetes and Kubeflow Trainer, and cannot prove that real ones behave the same.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.cluster.cluster_double import NAMESPACE, ClusterDouble, Json, is_true, status
from tests.cluster.merge_patch import merged

__all__ = ["ALWAYS", "NAMESPACE", "ApiServerDouble", "Fault"]

GROUP = "trainer.kubeflow.org"
ALWAYS = 1_000_000
_DURING_STREAM = ("cut", "short", "end", "hang")
_HANG_SECONDS = 5.0
_JOBS = re.compile(rf"/apis/{GROUP}/v1alpha1/namespaces/{NAMESPACE}/trainjobs(?:/(?P<name>[^/]+))?")
_RUNTIMES = re.compile(rf"/apis/{GROUP}/v1alpha1/namespaces/{NAMESPACE}/trainingruntimes(?:/(?P<name>[^/]+))?")
_CORE = re.compile(rf"/api/v1/namespaces/{NAMESPACE}/(?P<kind>pods|events)(?:/(?P<name>[^/]+)(?P<log>/log)?)?")
_WORKFLOWS = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/workflows"
_SCHEMA = f"/openapi/v3/apis/{GROUP}/v1alpha1"


@dataclass
class Fault:
    """Failure of some requests.

    Attributes:
        verb: affected verb (``get``, ``list``, ``watch``, ``create``, ``patch``, ``delete``); empty for all.
        resource: affected resource (``trainjobs``, ``pods``, ``pods/log``, ``events``); empty for all.
        response: HTTP status; or ``drop``: the connection ends without a response; ``lost``: the request takes effect, but the
            connection ends before the response; ``cut``: a stream breaks off within a line; ``short``: a stream ends within a line as
            if it were complete; ``end``: a stream ends without content; ``hang``: a stream never sends anything.
        times: number of requests that are affected.
    """

    verb: str
    resource: str
    response: int | str
    times: int = 1

    def affects(self, verb: str, resource: str) -> bool:
        """Whether the next request of this kind fails."""
        return self.times > 0 and self.verb in ("", verb) and self.resource in ("", resource)


class ApiServerDouble(ClusterDouble):
    """A cluster double that is served over HTTP, with injected faults."""

    def __init__(self, *arguments: Any, faults: tuple[Fault, ...] = (), **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.faults = list(faults)
        self.workflows: list[Json] = []
        self.runtimes: dict[str, Json] = {}
        self.rights: set[tuple[str, str, str]] = set()
        """(verb, group, resource) of each request."""
        self.requests: Counter[tuple[str, str]] = Counter()
        """Number of requests by verb and resource."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator[ApiServerDouble]:
        thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()

    def kubeconfig(self) -> str:
        """Return a kubeconfig for this server, as YAML."""
        context = {"cluster": "double", "user": "step", "namespace": NAMESPACE}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "double", "cluster": {"server": self.url}}],
                "users": [{"name": "step", "user": {}}],
                "contexts": [{"name": "double", "context": context}],
                "current-context": "double",
            }
        )

    def published(self) -> Json:
        kind = {"group": GROUP, "version": "v1alpha1", "kind": "TrainJob"}
        return {"components": {"schemas": {"trainjob": {**self.schema, "x-kubernetes-group-version-kind": [kind]}}}}

    def put_runtime(self, runtime: Json) -> tuple[int, Json]:
        name = runtime["metadata"]["name"]
        if name in self.runtimes:
            return 409, status(409, "AlreadyExists", name)
        self.runtimes[name] = runtime
        return 201, runtime

    def change_runtime(self, name: str, change: Json) -> tuple[int, Json]:
        if name not in self.runtimes:
            return 404, status(404, "NotFound", name)
        self.runtimes[name] = merged(self.runtimes[name], change)
        return 200, self.runtimes[name]

    def count(self, verb: str, group: str, resource: str) -> None:
        with self.changed:
            self.rights.add((verb, group, resource))
            self.requests[verb, resource] += 1

    def fault(self, verb: str, resource: str) -> Fault | None:
        with self.changed:
            for fault in self.faults:
                if fault.affects(verb, resource):
                    fault.times -= 1
                    return fault
        return None


def _handler(server: ApiServerDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without this each response takes 40 ms: headers and body are two small packets.
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

        def do_GET(self) -> None:
            url, options = self._target()
            if url == _SCHEMA:
                answer = (200, server.published()) if server.version else (404, status(404, "NotFound", "not found"))
                self._reply("get", "", "openapi", lambda: answer)
            elif url == _WORKFLOWS:
                found = server.workflows
                self._reply("list", "argoproj.io", "workflows", lambda: (200, _list("Workflow", found, options)))
            elif match := _JOBS.fullmatch(url):
                self._get_jobs(match["name"], options)
            elif match := _RUNTIMES.fullmatch(url):
                missing = 404, status(404, "NotFound", match["name"])
                found = server.runtimes.get(match["name"])
                self._reply("get", GROUP, "trainingruntimes", lambda: missing if found is None else (200, found))
            elif match := _CORE.fullmatch(url):
                self._get_core(match, options)
            else:
                self._send(404, status(404, "NotFound", url))

        def do_POST(self) -> None:
            url, options = self._target()
            job = self._body()
            if _RUNTIMES.fullmatch(url):
                self._reply("create", GROUP, "trainingruntimes", lambda: server.put_runtime(job))
                return
            assert _JOBS.fullmatch(url), url
            strict = options.get("fieldValidation") == "Strict"
            self._reply("create", GROUP, "trainjobs", lambda: server.create_response(job, strict))

        def do_PATCH(self) -> None:
            assert self.headers["Content-Type"] == "application/merge-patch+json"
            change = self._body()
            if match := _RUNTIMES.fullmatch(self._target()[0]):
                name = match["name"]
                self._reply("patch", GROUP, "trainingruntimes", lambda: server.change_runtime(name, change))
                return
            match = _JOBS.fullmatch(self._target()[0])
            self._reply("patch", GROUP, "trainjobs", lambda: server.patch_response(match["name"], change))

        def do_DELETE(self) -> None:
            match = _JOBS.fullmatch(self._target()[0])
            options = self._body()
            self._reply("delete", GROUP, "trainjobs", lambda: server.delete_response(match["name"], options))

        def _get_jobs(self, name: str | None, options: dict[str, str]) -> None:
            if name is not None:
                missing = 404, status(404, "NotFound", f'trainjobs "{name}" not found')
                self._reply(
                    "get", GROUP, "trainjobs", lambda: (200, server.jobs[name]) if name in server.jobs else missing
                )
            elif is_true(options, "watch"):
                only = options.get("fieldSelector", "").removeprefix("metadata.name=") or None
                since, seconds = int(options["resourceVersion"]), float(options["timeoutSeconds"])
                events = server.watch_events(only, since, seconds)
                self._stream("watch", GROUP, "trainjobs", (json.dumps(each).encode() + b"\n" for each in events))
            else:
                self._reply("list", GROUP, "trainjobs", lambda: (200, _list("TrainJob", server.jobs.values(), options)))

        def _get_core(self, match: re.Match[str], options: dict[str, str]) -> None:
            kind, name = match["kind"], match["name"]
            if match["log"]:
                found = server.pods.get(name, {}).get("status", {})
                if not found or found["phase"] == "Pending":
                    code, reason = (404, "not found") if not found else (400, "the container is waiting to start")
                    self._reply("get", "", "pods/log", lambda: (code, status(code, "BadRequest", reason)))
                else:
                    self._stream("get", "", "pods/log", server.log_lines(name, options))
            elif name is not None:
                missing = 404, status(404, "NotFound", f'pods "{name}" not found')
                self._reply("get", "", kind, lambda: (200, server.pods[name]) if name in server.pods else missing)
            else:
                found = server.pods.values() if kind == "pods" else server.events
                self._reply("list", "", kind, lambda: (200, _list("Pod", found, options)))

        def _target(self) -> tuple[str, dict[str, str]]:
            url = urlsplit(self.path)
            return url.path, {name: values[-1] for name, values in parse_qs(url.query).items()}

        def _body(self) -> Json:
            size = int(self.headers.get("Content-Length") or 0)
            return json.loads(self.rfile.read(size)) if size else {}

        def _reply(self, verb: str, group: str, resource: str, act: Callable[[], tuple[int, Json]]) -> None:
            if resource != "openapi":
                server.count(verb, group, resource)
            fault = server.fault(verb, resource)
            if fault is None or fault.response == "lost":
                with server.changed:
                    code, body = act()
                    body = copy.deepcopy(body)
                if fault is None:
                    self._send(code, body)
                    return
            self._refuse(fault)

        def _stream(self, verb: str, group: str, resource: str, lines: Iterator[bytes]) -> None:
            server.count(verb, group, resource)
            fault = server.fault(verb, resource)
            if fault is not None and fault.response not in _DURING_STREAM:
                self._refuse(fault)
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if fault is not None and fault.response == "hang":
                time.sleep(_HANG_SECONDS)
                return
            if fault is not None and fault.response == "end":
                lines = iter(())
            for line in lines:
                if fault is not None:
                    self._chunk(line[:-3])
                    if fault.response == "cut":
                        self._hang_up()
                        return
                    break
                self._chunk(line)
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def _refuse(self, fault: Fault) -> None:
            if isinstance(fault.response, int):
                self._send(fault.response, status(fault.response, "Trouble", "injected by the test"))
            else:
                self._hang_up()

        def _hang_up(self) -> None:
            self.close_connection = True
            self.connection.shutdown(2)

        def _send(self, code: int, body: Json) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if code == 429:
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(data)

    return Handler


def _list(kind: str, items: Any, options: dict[str, str]) -> Json:
    found = list(items)
    for each in filter(None, options.get("labelSelector", "").split(",")):
        label, _, value = each.partition("=")
        found = [item for item in found if item["metadata"].get("labels", {}).get(label) == value]
    if wanted := options.get("fieldSelector"):
        path, _, value = wanted.partition("=")
        outer, _, inner = path.partition(".")
        found = [item for item in found if item.get(outer, {}).get(inner) == value]
    return {"kind": f"{kind}List", "apiVersion": "v1", "metadata": {"resourceVersion": "0"}, "items": found}
