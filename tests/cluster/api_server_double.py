"""A double of the Kubernetes API server, with the controllers behind TrainJobs: an HTTP server in this process.

It speaks what the launcher asks for: get, list, watch, create, patch and delete of TrainJobs, pods and their logs, events, and the
published schema, with versions, conflicts, watches that end, deletion that waits for pods, and whatever trouble a test asks for. What
happens to a job is a *play*: a function that a test gives, run in a thread once the job is made.

It cannot show that a real server and a real Kubeflow Trainer behave so: it was written from their documentation and source.
"""

from __future__ import annotations

import copy
import itertools
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

from tests.cluster.trainjob_schemas import problems, schema_of

Json = dict[str, Any]
Play = Callable[["ApiServerDouble", str], object]

GROUP = "trainer.kubeflow.org"
NAMESPACE = "vicur"
ALWAYS = 1_000_000
_WITHIN = ("cut", "short", "end", "hang")
_HANGS_SECONDS = 5.0
_JOBS = re.compile(rf"/apis/{GROUP}/v1alpha1/namespaces/{NAMESPACE}/trainjobs(?:/(?P<name>[^/]+))?")
_CORE = re.compile(rf"/api/v1/namespaces/{NAMESPACE}/(?P<kind>pods|events)(?:/(?P<name>[^/]+)(?P<log>/log)?)?")
_SCHEMA = f"/openapi/v3/apis/{GROUP}/v1alpha1"
_INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass
class Fault:
    """Trouble that some requests meet.

    Attributes:
        verb: what they do (``get``, ``list``, ``watch``, ``create``, ``patch``, ``delete``); empty for all.
        resource: with what (``trainjobs``, ``pods``, ``pods/log``, ``events``); empty for all.
        answer: the status that they are answered with; ``drop``: none, the connection ends; ``lost``: they are done, and it ends
            before the answer; ``cut``: a stream breaks off within a line; ``short``: it ends there as if it were whole; ``end``: it ends
            once all that there is has been sent; ``hang``: nothing is ever sent.
        times: how many meet it.
    """

    verb: str
    resource: str
    answer: int | str
    times: int = 1

    def meets(self, verb: str, resource: str) -> bool:
        return self.times > 0 and self.verb in ("", verb) and self.resource in ("", resource)


class ApiServerDouble:
    """The server and what is on the cluster.

    Args:
        play: what happens to a job once it is made.
        version: which Kubeflow Trainer is installed; empty for none.
        faults: trouble that requests meet.
        lingering: seconds that a job's pods take to end when it is removed.
    """

    def __init__(
        self,
        play: Play = lambda _server, _job: None,
        *,
        version: str = "2.3",
        faults: tuple[Fault, ...] = (),
        lingering: float = 0.0,
    ) -> None:
        self.play, self.version, self.faults, self.lingering = play, version, list(faults), lingering
        self.schema = schema_of(version) if version else {}
        self.jobs: dict[str, Json] = {}
        self.pods: dict[str, Json] = {}
        self.events: list[Json] = []
        self.logs: dict[str, list[str]] = {}
        self.asked: set[tuple[str, str, str]] = set()
        """(verb, group, resource) of each request."""
        self.requests: Counter[tuple[str, str]] = Counter()
        """How many there were, by verb and resource."""
        self.created: list[Json] = []
        self.forgotten = 0
        """Versions up to here are no longer known to watches."""
        self.trouble: list[BaseException] = []
        """What plays have raised."""
        self._history: list[tuple[int, str, Json]] = []
        self._versions = itertools.count(1)
        self._ticks = itertools.count(1)
        self.changed = threading.Condition(threading.RLock())
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
        """A kubeconfig for this server, as YAML."""
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

    # What happens on the cluster.

    def start(self, job: str, nodes: int = 2, phase: str = "Running") -> list[str]:
        """The job's pods appear."""
        return [self.add_pod(job, node, phase) for node in range(nodes)]

    def add_pod(self, job: str, node: int, phase: str = "Running") -> str:
        with self.changed:
            name = f"{job}-node-0-{node}-{next(self._ticks):05d}"
            labels = {"jobset.sigs.k8s.io/jobset-name": job, _INDEX: str(node)}
            status: Json = {"phase": phase, "containerStatuses": [_container({"running": {}})]}
            self.pods[name] = {
                "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels, "uid": f"pod-{name}"},
                "spec": {"containers": [{"name": "node", "image": "image"}]},
                "status": status,
            }
            self.logs[name] = []
            self.changed.notify_all()
        return name

    def waiting(self, pod: str, reason: str, message: str = "") -> None:
        """A pod's container waits."""
        self._pod(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def write(self, pod: str, *lines: str) -> None:
        """A pod writes to its log."""
        with self.changed:
            for line in lines:
                tick = next(self._ticks)
                # As the server writes times: without zeros at the end.
                moment = f"2026-01-01T00:00:{tick // 100:02d}.{tick % 100:02d}".rstrip("0").rstrip(".")
                self.logs[pod].append(f"{moment}Z {line}")
            self.changed.notify_all()

    def turn_away(self, pod: str, reason: str) -> None:
        """A kubelet does not start a pod."""
        with self.changed:
            self.pods[pod]["status"] = {"phase": "Failed", "reason": reason, "message": "no healthy devices present"}
            self.changed.notify_all()

    def end(
        self,
        pod: str,
        code: int = 0,
        reason: str = "",
        *,
        evicted: bool = False,
        disrupted: bool = False,
        proxy: bool = False,
    ) -> None:
        """A pod ends, and with it a proxy that stood beside the training."""
        tick = next(self._ticks)
        stopped = {
            "exitCode": code,
            "reason": reason or ("Error" if code else "Completed"),
            "finishedAt": f"2026-01-01T01:{tick // 60 % 60:02d}:{tick % 60:02d}Z",
        }
        more: Json = {"reason": "Evicted", "message": "The node was low on memory."} if evicted else {}
        if disrupted:
            more["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
        self._pod(pod, "Failed" if code or evicted else "Succeeded", {"terminated": stopped}, more)
        if proxy:
            beside = {
                **_container({"terminated": {**stopped, "exitCode": 0, "reason": "Completed"}}),
                "name": "istio-proxy",
            }
            self.pods[pod]["status"]["containerStatuses"].insert(0, beside)

    def vanish(self, job: str) -> None:
        """A job's pods are gone, as when their nodes are."""
        with self.changed:
            for name in [name for name in self.pods if name.startswith(f"{job}-")]:
                del self.pods[name]
            self.changed.notify_all()

    def state(self, job: str, kind: str, reason: str = "", message: str = "", status: str = "True") -> None:
        """A condition of a job is set."""

        def change(found: Json) -> None:
            kept = [each for each in found.setdefault("status", {}).get("conditions", []) if each["type"] != kind]
            stated = {"type": kind, "status": status, "reason": reason or kind, "message": message}
            found["status"]["conditions"] = [*kept, {**stated, "lastTransitionTime": "2026-01-01T00:00:00Z"}]

        self._change(job, change)

    def suspend(self, job: str, suspended: bool) -> None:
        """Kueue holds a job back, or lets it go."""
        self._change(job, lambda found: found["spec"].update(suspend=suspended))

    def event(self, kind: str, name: str, reason: str, message: str, category: str = "Warning") -> None:
        """Something is told about an object."""
        with self.changed:
            tick = next(self._ticks)
            self.events.append(
                {
                    "metadata": {"name": f"{name}.{tick}", "namespace": NAMESPACE},
                    "involvedObject": {"kind": kind, "name": name, "namespace": NAMESPACE},
                    "type": category,
                    "reason": reason,
                    "message": message,
                    "lastTimestamp": f"2026-01-01T02:{tick // 60 % 60:02d}:{tick % 60:02d}Z",
                }
            )

    def complete(self, job: str) -> None:
        """A job's pods end well, and so does it."""
        for pod in [name for name in self.pods if name.startswith(f"{job}-")]:
            self.end(pod)
        self.state(job, "Complete", "AllJobsCompleted")

    def fail(
        self, job: str, reason: str = "FailedJobs", message: str = "jobset failed due to one or more job failures"
    ) -> None:
        """A job is given up."""
        self.state(job, "Failed", reason, message)

    def put(self, job: Json) -> Json:
        """A job is there, by whoever."""
        with self.changed:
            made = copy.deepcopy(job)
            made["metadata"] |= {"uid": f"uid-{next(self._ticks)}", "creationTimestamp": "2026-01-01T00:00:00Z"}
            self.jobs[made["metadata"]["name"]] = made
            self._record("ADDED", made)
            return made

    def remove(self, job: str) -> None:
        """A job is gone at once, with its pods."""
        with self.changed:
            self.vanish(job)
            if (found := self.jobs.pop(job, None)) is not None:
                self._record("DELETED", found)

    def until(self, met: Callable[[], bool], seconds: float = 10.0) -> None:
        """Waits for something."""
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.01)

    # What requests find.

    def answer_create(self, job: Json, strict: bool) -> tuple[int, Json]:
        with self.changed:
            name = job["metadata"]["name"]
            if name in self.jobs:
                return 409, _status(409, "AlreadyExists", f'trainjobs "{name}" already exists')
            if strict and (wrong := problems(self.schema, job)):
                return 400, _status(400, "BadRequest", f"strict decoding error: {'; '.join(wrong)}")
            made = self.put(job)
            self.created.append(made)
        threading.Thread(target=self._perform, args=(name,), daemon=True).start()
        return 201, made

    def answer_delete(self, name: str, options: Json) -> tuple[int, Json]:
        with self.changed:
            found = self.jobs.get(name)
            if found is None:
                return 404, _status(404, "NotFound", f'trainjobs "{name}" not found')
            uid = options.get("preconditions", {}).get("uid", found["metadata"]["uid"])
            if uid != found["metadata"]["uid"]:
                return 409, _status(409, "Conflict", "the UID in the precondition does not match")
            if options.get("propagationPolicy") != "Foreground":
                self.remove(name)
                return 200, found
            found["metadata"].setdefault("deletionTimestamp", "2026-01-01T03:00:00Z")
            self._record("MODIFIED", found)
        timer = threading.Timer(self.lingering, self.remove, [name])
        timer.daemon = True
        timer.start()
        return 200, found

    def answer_patch(self, name: str, change: Json) -> tuple[int, Json]:
        with self.changed:
            if name not in self.jobs:
                return 404, _status(404, "NotFound", f'trainjobs "{name}" not found')
            self._change(name, lambda found: _merge(found, change))
            return 200, self.jobs[name]

    def watched(self, name: str | None, version: int, seconds: float) -> Iterator[Json]:
        deadline, position = time.monotonic() + seconds, 0
        while True:
            with self.changed:
                if version < self.forgotten:
                    yield {"type": "ERROR", "object": _status(410, "Expired", "too old resource version")}
                    return
                news = [entry for entry in self._history[position:] if entry[0] > version]
                position = len(self._history)
                if not news:
                    left = deadline - time.monotonic()
                    if left <= 0 or not self.changed.wait(left):
                        return
                    continue
            for _, kind, job in news:
                if name is None or job["metadata"]["name"] == name:
                    yield {"type": kind, "object": job}

    def log_of(self, pod: str, options: dict[str, str]) -> Iterator[bytes]:
        stamped, follow = _is_true(options, "timestamps"), _is_true(options, "follow")
        sent = 0
        if "tailLines" in options:
            sent = max(0, len(self.logs[pod]) - int(options["tailLines"]))
        while True:
            with self.changed:
                lines = self.logs.get(pod, [])[sent:]
                ended = pod not in self.pods or self.pods[pod]["status"]["phase"] in ("Succeeded", "Failed")
                if not lines and follow and not ended:
                    self.changed.wait(0.2)
                    continue
            for line in lines:
                yield (line if stamped else line.partition(" ")[2]).encode() + b"\n"
            sent += len(lines)
            if not follow or (ended and not lines):
                return

    def published(self) -> Json:
        kind = {"group": GROUP, "version": "v1alpha1", "kind": "TrainJob"}
        return {"components": {"schemas": {"trainjob": {**self.schema, "x-kubernetes-group-version-kind": [kind]}}}}

    def count(self, verb: str, group: str, resource: str) -> None:
        with self.changed:
            self.asked.add((verb, group, resource))
            self.requests[verb, resource] += 1

    def fault(self, verb: str, resource: str) -> Fault | None:
        with self.changed:
            for fault in self.faults:
                if fault.meets(verb, resource):
                    fault.times -= 1
                    return fault
        return None

    def _perform(self, name: str) -> None:
        try:
            self.play(self, name)
        except BaseException as error:  # noqa: BLE001 (the test raises it)
            self.trouble.append(error)

    def _pod(self, pod: str, phase: str, state: Json, more: Json | None = None) -> None:
        with self.changed:
            self.pods[pod]["status"] = {"phase": phase, "containerStatuses": [_container(state)], **(more or {})}
            self.changed.notify_all()

    def _change(self, name: str, change: Callable[[Json], object]) -> None:
        with self.changed:
            found = copy.deepcopy(self.jobs[name])
            change(found)
            self.jobs[name] = found
            self._record("MODIFIED", found)

    def _record(self, kind: str, job: Json) -> None:
        version = next(self._versions)
        job["metadata"]["resourceVersion"] = str(version)
        self._history.append((version, kind, copy.deepcopy(job)))
        self.changed.notify_all()


def _container(state: Json) -> Json:
    return {"name": "node", "image": "image", "imageID": "", "ready": False, "restartCount": 0, "state": state}


def _status(code: int, reason: str, message: str) -> Json:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def _is_true(options: dict[str, str], name: str) -> bool:
    """As Go reads it: the client writes ``True``."""
    return options.get(name, "").lower() == "true"


def _merge(found: Json, change: Json) -> None:
    for name, value in change.items():
        if isinstance(value, dict) and isinstance(found.get(name), dict):
            _merge(found[name], value)
        else:
            found[name] = value


def _handler(server: ApiServerDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

        def do_GET(self) -> None:
            url, options = self._target()
            if url == _SCHEMA:
                answer = (200, server.published()) if server.version else (404, _status(404, "NotFound", "not found"))
                self._reply("get", "", "openapi", lambda: answer)
            elif match := _JOBS.fullmatch(url):
                self._get_jobs(match["name"], options)
            elif match := _CORE.fullmatch(url):
                self._get_core(match, options)
            else:
                self._send(404, _status(404, "NotFound", url))

        def do_POST(self) -> None:
            url, options = self._target()
            job = self._body()
            assert _JOBS.fullmatch(url), url
            strict = options.get("fieldValidation") == "Strict"
            self._reply("create", GROUP, "trainjobs", lambda: server.answer_create(job, strict))

        def do_PATCH(self) -> None:
            match = _JOBS.fullmatch(self._target()[0])
            assert self.headers["Content-Type"] == "application/merge-patch+json"
            change = self._body()
            self._reply("patch", GROUP, "trainjobs", lambda: server.answer_patch(match["name"], change))

        def do_DELETE(self) -> None:
            match = _JOBS.fullmatch(self._target()[0])
            options = self._body()
            self._reply("delete", GROUP, "trainjobs", lambda: server.answer_delete(match["name"], options))

        def _get_jobs(self, name: str | None, options: dict[str, str]) -> None:
            if name is not None:
                missing = 404, _status(404, "NotFound", f'trainjobs "{name}" not found')
                self._reply(
                    "get", GROUP, "trainjobs", lambda: (200, server.jobs[name]) if name in server.jobs else missing
                )
            elif _is_true(options, "watch"):
                only = options.get("fieldSelector", "").removeprefix("metadata.name=") or None
                since, seconds = int(options["resourceVersion"]), float(options["timeoutSeconds"])
                events = server.watched(only, since, seconds)
                self._stream("watch", GROUP, "trainjobs", (json.dumps(each).encode() + b"\n" for each in events))
            else:
                self._reply(
                    "list", GROUP, "trainjobs", lambda: (200, _listed("TrainJob", server.jobs.values(), options))
                )

        def _get_core(self, match: re.Match[str], options: dict[str, str]) -> None:
            kind, name = match["kind"], match["name"]
            if match["log"]:
                status = server.pods.get(name, {}).get("status", {})
                if not status or status["phase"] == "Pending":
                    code, words = (404, "not found") if not status else (400, "the container is waiting to start")
                    self._reply("get", "", "pods/log", lambda: (code, _status(code, "BadRequest", words)))
                else:
                    self._stream("get", "", "pods/log", server.log_of(name, options))
            elif name is not None:
                missing = 404, _status(404, "NotFound", f'pods "{name}" not found')
                self._reply("get", "", kind, lambda: (200, server.pods[name]) if name in server.pods else missing)
            else:
                found = server.pods.values() if kind == "pods" else server.events
                self._reply("list", "", kind, lambda: (200, _listed("Pod", found, options)))

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
            if fault is None or fault.answer == "lost":
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
            if fault is not None and fault.answer not in _WITHIN:
                self._refuse(fault)
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if fault is not None and fault.answer == "hang":
                time.sleep(_HANGS_SECONDS)
                return
            if fault is not None and fault.answer == "end":
                lines = iter(())
            for line in lines:
                if fault is not None:
                    self._chunk(line[:-3])
                    if fault.answer == "cut":
                        self._hang_up()
                        return
                    break
                self._chunk(line)
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def _refuse(self, fault: Fault) -> None:
            if isinstance(fault.answer, int):
                self._send(fault.answer, _status(fault.answer, "Trouble", "as the test asks for"))
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


def _listed(kind: str, items: Any, options: dict[str, str]) -> Json:
    found = list(items)
    for each in filter(None, options.get("labelSelector", "").split(",")):
        label, _, value = each.partition("=")
        found = [item for item in found if item["metadata"].get("labels", {}).get(label) == value]
    if wanted := options.get("fieldSelector"):
        path, _, value = wanted.partition("=")
        outer, _, inner = path.partition(".")
        found = [item for item in found if item.get(outer, {}).get(inner) == value]
    return {"kind": f"{kind}List", "apiVersion": "v1", "metadata": {"resourceVersion": "0"}, "items": found}
