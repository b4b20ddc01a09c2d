"""Doubles of the servers that checks send requests to: the Kubernetes API and an OpenAI-compatible server.

Each serves only the paths that the checks use and responds with 404 to others. For MLflow and S3, the tests have real servers.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]
Request = Callable[[str, str, dict[str, str], dict[str, str], bytes], Answer]
"""Method, path, query, headers (names in lower case) and body; returns status, JSON or bytes, and further headers, if any."""


@contextmanager
def serving(answer: Request) -> Iterator[str]:
    """Serve the responses of ``answer`` over HTTP, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            place = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(place.query).items()}
            status, content, *more = answer(
                self.command, place.path, query, {key.lower(): value for key, value in self.headers.items()}, body
            )
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (more[0] if more else {}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def node(
    name: str,
    gpus: int = 8,
    ready: bool = True,
    cordoned: bool = False,
    cpu: str = "64",
    memory: str = "512Gi",
    **labels: str,
) -> dict[str, Any]:
    """Return a node. One with GPUs has the taint that many clouds put on such nodes."""
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "unschedulable": cordoned,
            "taints": [taint] if gpus else [],
        },
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, **({"nvidia.com/gpu": str(gpus)} if gpus else {})},
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def pod(
    name: str, on: str, cpu: str, memory: str, *, lasting: bool = True, run: str = "", **more: Any
) -> dict[str, Any]:
    """Return a running pod on a node: of a Deployment, or of a workflow's step."""
    container = {"name": "main", "image": "i", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    return {
        "metadata": {"name": name, "labels": {"pipeline/runid": run} if run else {}},
        "spec": {
            "nodeName": on,
            "restartPolicy": "Always" if lasting else "Never",
            # A container without requests, as Argo's.
            "containers": [container, {"name": "wait", "image": "i"}],
            **more,
        },
    }


def cluster_queue(name: str, **quotas: str) -> dict[str, Any]:
    """Return a ClusterQueue with one flavor, as Kueue 0.19 serves it."""
    names = {key.replace("gpu", "nvidia.com/gpu"): value for key, value in quotas.items()}
    resources = [{"name": key, "nominalQuota": value} for key, value in names.items()]
    flavor = {"name": "gpus", "resources": resources}
    return {
        "metadata": {"name": name},
        "spec": {"resourceGroups": [{"coveredResources": [*names], "flavors": [flavor]}]},
    }


ON_ERROR = """
spec:
  templateDefaults:
    retryStrategy:
      limit: "2"
      retryPolicy: OnError
"""
"""``workflowDefaults`` in the ConfigMap of the workflow controller of Kubeflow Pipelines 2.17.0."""


class KubernetesDouble:
    """Double of the Kubernetes API: it lists objects and reviews access.

    Attributes:
        token: required bearer token.
        minor: minor release of the cluster.
        groups: versions by API group.
        namespace: namespace of the run.
        quotas: resource quotas of that namespace.
        limits: limit ranges of that namespace.
        pods: pods of all namespaces; those of the run's namespace are the same.
        queues: LocalQueues of that namespace.
        cluster_queues: ClusterQueues.
        config_maps: data of ConfigMaps by namespace and name.
        deployments: environment of Deployments by namespace and name.
        denied: rights (verb, group, resource) that the account does not have.
        requests: rights used by the requests so far.
    """

    def __init__(self) -> None:
        self.token = "kube-0815"  # noqa: S105 (of the double)
        self.minor = "33+"
        self.namespace = "vicur"
        self.groups = {
            "argoproj.io": ["v1alpha1"],
            "trainer.kubeflow.org": ["v1alpha1"],
            "kueue.x-k8s.io": ["v1beta2", "v1beta1"],
        }
        self.nodes = [node("a", gpu="h100"), node("b", gpu="h100"), node("c", gpus=1, gpu="l4"), node("d", gpus=0)]
        self.pods: list[dict[str, Any]] = []
        self.limits: list[dict[str, Any]] = []
        self.cluster_queues = {"gpus": cluster_queue("gpus", cpu="192", memory="2Ti", gpu="32")}
        self.config_maps = {
            ("kubeflow", "workflow-controller-configmap"): {"workflowDefaults": ON_ERROR},
            ("vicur", "vicur-endpoints"): {"MLFLOW_TRACKING_URI": "http://mlflow.vicur.svc.cluster.local:5000"},
        }
        self.deployments: dict[tuple[str, str], dict[str, str]] = {("kubeflow", "workflow-controller"): {}}
        self.quotas: list[dict[str, Any]] = [
            {
                "metadata": {"name": "gpus"},
                "status": {"hard": {"requests.nvidia.com/gpu": "16"}, "used": {"requests.nvidia.com/gpu": "0"}},
            }
        ]
        self.queues = [_queue("gpu-h100", "True")]
        self.denied: set[tuple[str, str, str]] = set()
        self.requests: list[tuple[str, str, str]] = []

    def __call__(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Answer:
        if headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"kind": "Status", "message": "Unauthorized"}
        if (method, path) == ("GET", "/version/"):
            return 200, {"major": "1", "minor": self.minor, "gitVersion": f"v1.{self.minor}", **_BUILD}
        if (method, path) == ("GET", "/apis/"):
            return 200, {"groups": [_group(name, versions) for name, versions in self.groups.items()]}
        if (method, path) == ("GET", "/api/v1/nodes"):
            return self._list("", "nodes", self._selected(query.get("labelSelector", "")), query)
        if (method, path) == ("GET", f"/api/v1/namespaces/{self.namespace}/resourcequotas"):
            return self._list("", "resourcequotas", self.quotas)
        if (method, path) == ("GET", f"/api/v1/namespaces/{self.namespace}/limitranges"):
            return self._list("", "limitranges", self.limits)
        if (method, path) == ("GET", "/api/v1/pods"):
            return self._list("", "pods of all namespaces", self.pods, query)
        if (method, path) == ("GET", f"/api/v1/namespaces/{self.namespace}/pods"):
            return self._list("", "pods", self.pods, query)
        if method == "GET" and (found := re.fullmatch(r"/api/v1/namespaces/([^/]+)/configmaps/([^/]+)", path)):
            return self._get("", "configmaps", self.config_maps, found.groups(), lambda data: {"data": data})
        if method == "GET" and (found := re.fullmatch(r"/apis/apps/v1/namespaces/([^/]+)/deployments/([^/]+)", path)):
            return self._get("apps", "deployments", self.deployments, found.groups(), _deployment)
        if method == "GET" and (found := re.fullmatch(r"/apis/kueue.x-k8s.io/v1beta2/clusterqueues/([^/]+)", path)):
            return self._get("kueue.x-k8s.io", "clusterqueues", self.cluster_queues, found[1], lambda each: each)
        if (method, path) == ("GET", f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{self.namespace}/localqueues"):
            return self._list("kueue.x-k8s.io", "localqueues", self.queues)
        if (method, path) == ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"):
            spec = json.loads(body)["spec"]
            right = spec["resourceAttributes"]
            resource = "/".join(filter(None, (right["resource"], right.get("subresource"))))
            allowed = (right["verb"], right.get("group", ""), resource) not in self.denied
            return 201, {"spec": spec, "status": {"allowed": allowed}}
        return 404, {"kind": "Status", "message": f"the double does not serve {method} {path}"}

    def _list(
        self, group: str, resource: str, items: list[dict[str, Any]], query: dict[str, str] | None = None
    ) -> Answer:
        self.requests.append(("list", group, resource))
        if ("list", group, resource) in self.denied:
            return 403, {"kind": "Status", "message": f"{resource} is forbidden"}
        first = int((query or {}).get("continue") or 0)
        end = first + int((query or {}).get("limit") or len(items))
        return 200, {"metadata": {"continue": str(end) if end < len(items) else ""}, "items": items[first:end]}

    def _get(self, group: str, resource: str, items: dict[Any, Any], key: Any, written: Callable[[Any], Any]) -> Answer:
        self.requests.append(("get", group, resource))
        if ("get", group, resource) in self.denied:
            return 403, {"kind": "Status", "message": f"{resource} is forbidden"}
        if key not in items:
            return 404, {"kind": "Status", "message": f"{resource} {key} not found"}
        return 200, written(items[key])

    def _selected(self, selector: str) -> list[dict[str, Any]]:
        wanted = dict(each.split("=") for each in selector.split(",") if each)
        return [each for each in self.nodes if wanted.items() <= each["metadata"]["labels"].items()]


_BUILD = dict.fromkeys(("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion", "platform"), "x")


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    entries = [{"groupVersion": f"{name}/{each}", "version": each} for each in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def _queue(name: str, active: str, message: str = "") -> dict[str, Any]:
    condition = {"type": "Active", "status": active, "message": message}
    return {"metadata": {"name": name}, "spec": {"clusterQueue": "gpus"}, "status": {"conditions": [condition]}}


def _deployment(environment: dict[str, str]) -> dict[str, Any]:
    variables = [{"name": name, "value": value} for name, value in environment.items()]
    template = {"spec": {"containers": [{"name": "c", "image": "i", "env": variables}]}}
    return {"metadata": {"name": "d"}, "spec": {"selector": {}, "template": template}}


def stopped_queue(name: str, message: str) -> dict[str, Any]:
    """Return a LocalQueue that does not accept work."""
    return _queue(name, "False", message)


def kubeconfig(server: str, token: str) -> str:
    """Return a kubeconfig."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": server}}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
    )


def openai_double(key: str, *models: str) -> Request:
    """Return a double of an OpenAI-compatible server that requires a key."""

    def answer(method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Answer:
        del query, body
        if (method, path) != ("GET", "/v1/models"):
            return 404, {"detail": "Not Found"}
        if headers.get("authorization") != f"Bearer {key}":
            return 401, {"error": "Unauthorized"}
        return 200, {"object": "list", "data": [{"id": each, "object": "model"} for each in models]}

    return answer
