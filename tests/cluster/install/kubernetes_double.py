"""Double of a Kubernetes API server for the real ``kubectl``: discovery, stored objects of all kinds that ``k8s/`` uses, and exec.

It behaves as Kubernetes 1.35 did where an installation depends on it: objects of a missing namespace are rejected, a dry run stores
nothing, a job's template is immutable, a StatefulSet leaves its claims behind, a deleted namespace takes its objects along. Its workloads
are ready at once unless a test says otherwise. It cannot prove that a real server behaves the same.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import uuid
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.cluster.cluster_double import status
from tests.cluster.install.discovery import KINDS, discovery, plural
from tests.cluster.install.exec_stream import serve_exec

Json = dict[str, Any]
_URL = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/[a-z]+))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<part>[a-z]+))?"
)


@dataclass
class Workload:
    """Status and pods of a workload, as the server shows them.

    Attributes:
        polls: number of listings until it is ready, with ``pods`` until then.
    """

    pods: tuple[Json, ...] = ()
    polls: int = 0
    status: Json = field(default_factory=dict)


class KubernetesDouble:
    """A server with the objects of :data:`KINDS`.

    Attributes:
        workloads: what a workload shows, by title (``Deployment/mlflow``), if it is not ready at once.
        without_pods: titles of workloads whose pods are rejected.
        execute: answers a command in a pod: (command, standard input) to standard output.
        requests: number of requests that change something, by verb and title; dry runs are not counted.
    """

    def __init__(self, kinds: dict[str, tuple[str, ...]] | None = None) -> None:
        self.kinds = dict(KINDS if kinds is None else kinds)
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.workloads: dict[str, Workload] = {}
        self.without_pods: set[str] = set()
        self.execute: Callable[[list[str], str], str] = lambda *_: "created"
        self.requests: Counter[tuple[str, str]] = Counter()
        self.lock = threading.RLock()
        self._version = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        for name in ("default", "kube-system"):
            self.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    @contextmanager
    def serving(self) -> Iterator[KubernetesDouble]:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()

    def kubeconfig(self, context: str = "double") -> str:
        """Return a kubeconfig for this server, as YAML."""
        server = "http://{}:{}".format(*self._http.server_address[:2])
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "double", "cluster": {"server": server}}],
                "users": [{"name": "admin", "user": {}}],
                "contexts": [{"name": context, "context": {"cluster": "double", "user": "admin"}}],
                "current-context": context,
            }
        )

    def add(self, manifest: Json) -> Json:
        """Store an object as its controllers would leave it."""
        with self.lock:
            kept = copy.deepcopy(manifest)
            self._version += 1
            meta = kept["metadata"]
            meta.setdefault("uid", str(uuid.uuid4()))
            meta.setdefault("creationTimestamp", "2026-11-30T12:00:00Z")
            meta.update(resourceVersion=str(self._version), generation=int(meta.get("generation", 0)) + 1)
            if kept["kind"] == "Secret":
                text = {k: b64encode(v.encode()).decode() for k, v in kept.pop("stringData", {}).items()}
                kept["data"] = {**kept.get("data", {}), **text}
            self.objects[kept["kind"], meta.get("namespace", ""), meta["name"]] = kept
            for template in kept.get("spec", {}).get("volumeClaimTemplates", []):
                claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **copy.deepcopy(template)}
                claim["metadata"].update(
                    name=f"{template['metadata']['name']}-{meta['name']}-0", namespace=meta["namespace"]
                )
                if ("PersistentVolumeClaim", meta["namespace"], claim["metadata"]["name"]) not in self.objects:
                    self.add(claim)
            return kept

    def titles(self, namespace: str = "") -> set[str]:
        """Return the titles of a namespace's objects, or of the cluster's."""
        return {f"{kind}/{name}" for kind, space, name in self.objects if space == namespace}

    def secret(self, name: str, namespace: str) -> dict[str, str]:
        return {k: b64decode(v).decode() for k, v in self.objects["Secret", namespace, name]["data"].items()}

    def changes(self) -> Counter[tuple[str, str]]:
        """Return the changing requests since the last call."""
        with self.lock:
            found, self.requests = self.requests, Counter()
            return found

    # Requests. Each returns the HTTP status and the body.

    def create(self, manifest: Json, namespace: str, dry_run: bool) -> tuple[int, Json]:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if namespace and ("Namespace", "", namespace) not in self.objects:
            return 404, status(404, "NotFound", f'namespaces "{namespace}" not found')
        if (kind, namespace, name) in self.objects:
            return 409, status(409, "AlreadyExists", f'{plural(kind)} "{name}" already exists')
        if dry_run:
            return 201, manifest
        self.requests["create", f"{kind}/{name}"] += 1
        return 201, self.add(manifest)

    def patch(self, key: tuple[str, str, str], change: Json, dry_run: bool) -> tuple[int, Json]:
        if key not in self.objects:
            return 404, _missing(key)
        merged = _merged(self.objects[key], change)
        if key[0] == "Job" and merged["spec"]["template"] != self.objects[key]["spec"]["template"]:
            text = f'Job.batch "{key[2]}" is invalid: spec.template: Invalid value: {{}}: field is immutable'
            return 422, status(422, "Invalid", text)
        if dry_run:
            return 200, merged
        self.requests["patch", f"{key[0]}/{key[2]}"] += 1
        return 200, self.add(merged)

    def delete(self, key: tuple[str, str, str], dry_run: bool) -> tuple[int, Json]:
        if key not in self.objects:
            return 404, _missing(key)
        if not dry_run:
            self.requests["delete", f"{key[0]}/{key[2]}"] += 1
            del self.objects[key]
            if key[0] == "Namespace":
                self.objects = {k: v for k, v in self.objects.items() if k[1] != key[2]}
        return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def get(self, key: tuple[str, str, str]) -> tuple[int, Json]:
        found = self.objects.get(key)
        return (200, self._with_status(found)) if found else (404, _missing(key))

    def list(self, kind: str, namespace: str, options: dict[str, str]) -> tuple[int, Json]:
        found = [
            self._with_status(o)
            for (k, space, _), o in sorted(self.objects.items())
            if k == kind and namespace in ("", space)
        ]
        if kind == "Pod":
            found += self._pods(namespace)
        found = [each for each in found if _selected(each, options.get("labelSelector", ""))]
        version = next(v for v, kinds in self.kinds.items() if kind in kinds)
        return 200, {"kind": f"{kind}List", "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": found}

    def _shown(self, found: Json) -> Workload:
        return self.workloads.get(f"{found['kind']}/{found['metadata']['name']}", Workload())

    def _with_status(self, found: Json) -> Json:
        if found["kind"] not in ("Deployment", "StatefulSet", "Job"):
            return found
        shown = self._shown(found)
        count = found["spec"].get("replicas", 1)
        ready: Json = {
            "observedGeneration": found["metadata"]["generation"],
            "readyReplicas": count,
            "updatedReplicas": count,
        }
        if found["kind"] == "Job":
            ready = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
        waiting = shown.polls > 0
        shown.polls -= waiting
        # The status of an object without one has all its fields left out, such as readyReplicas.
        return {
            **found,
            "status": shown.status or {"observedGeneration": found["metadata"]["generation"]} if waiting else ready,
        }

    def _pods(self, namespace: str) -> list[Json]:
        """Return the pods of workloads."""
        found = []
        for (kind, space, name), each in self.objects.items():
            if f"{kind}/{name}" in self.without_pods:
                continue
            if kind in ("Deployment", "StatefulSet", "Job") and namespace in ("", space):
                labels = dict(each["spec"]["template"]["metadata"]["labels"])
                if kind == "Job":
                    labels |= {"batch.kubernetes.io/job-name": name}
                running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
                for number, pod_status in enumerate(self._shown(each).pods or (running,)):
                    meta = {"name": f"{name}-{number}", "namespace": space, "labels": labels}
                    found.append(
                        {
                            "apiVersion": "v1",
                            "kind": "Pod",
                            "metadata": meta,
                            "spec": {"containers": [{"name": name}]},
                            "status": pod_status,
                        }
                    )
        return found


def _missing(key: tuple[str, str, str]) -> Json:
    return status(404, "NotFound", f'{plural(key[0])} "{key[2]}" not found')


def _merged(target: Any, change: Any) -> Any:
    """Apply a merge patch. kubectl's strategic patches of the tests' changes are the same."""
    if not isinstance(change, dict) or not isinstance(target, dict):
        return change
    found = {k: v for k, v in target.items() if change.get(k, v) is not None}
    return found | {
        k: _merged(found.get(k, {}), v) for k, v in change.items() if v is not None and not k.startswith("$")
    }


def _selected(found: Json, selector: str) -> bool:
    labels = found["metadata"].get("labels", {})
    terms = [each.partition("=") for each in selector.split(",") if each]
    return all(name in labels and (not equals or labels[name] == value) for name, equals, value in terms)


def _handler(server: KubernetesDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            url = urlsplit(self.path).path.rstrip("/")
            if (discovered := discovery(server.kinds, url)) is not None:
                self._send(200, discovered)
                return
            match, kind, key = self._target()
            if match and match["part"] == "exec":
                options = parse_qs(urlsplit(self.path).query)
                serve_exec(self, lambda stdin: server.execute(options["command"], stdin))
            elif kind is None:
                self._send(404, status(404, "NotFound", "the server could not find the requested resource"))
            else:
                with server.lock:
                    answer = server.get(key) if match["name"] else server.list(kind, key[1], self._options())
                self._send(*answer)

        def do_POST(self) -> None:
            body = self._body()
            match, _, key = self._target()
            if match["plural"] == "selfsubjectaccessreviews":
                self._send(201, {**body, "status": {"allowed": True}})
                return
            self._change(lambda dry: server.create(body, key[1], dry))

        def do_PATCH(self) -> None:
            change = self._body()
            self._change(lambda dry: server.patch(self._target()[2], change, dry))

        def do_DELETE(self) -> None:
            self._body()
            self._change(lambda dry: server.delete(self._target()[2], dry))

        def _change(self, act: Callable[[bool], tuple[int, Json]]) -> None:
            with server.lock:
                answer = act(self._options().get("dryRun") == "All")
            self._send(*answer)

        def _target(self) -> tuple[Any, str | None, tuple[str, str, str]]:
            match = _URL.fullmatch(urlsplit(self.path).path)
            if match is None:
                return None, None, ("", "", "")
            version = f"{match['group']}/{match['version']}" if match["group"] else match["version"]
            kind = next((each for each in server.kinds.get(version, ()) if plural(each) == match["plural"]), None)
            return match, kind, (kind or "", match["namespace"] or "", match["name"] or "")

        def _options(self) -> dict[str, str]:
            return {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}

        def _body(self) -> Json:
            size = int(self.headers.get("Content-Length") or 0)
            return json.loads(self.rfile.read(size)) if size else {}

        def _send(self, code: int, body: Json) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler
