"""State of a cluster double: TrainJobs with their pods, logs and events, and the controllers behind them.

What happens to a job is a *play*: a function that the test provides, run in a thread once the job has been created.
"""

from __future__ import annotations

import copy
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.cluster.trainjob_schemas import problems, schema_of

Json = dict[str, Any]
Play = Callable[[Any, str], object]

NAMESPACE = "vicur"
_INDEX = "batch.kubernetes.io/job-completion-index"


class ClusterDouble:
    """A cluster with Kubeflow Trainer.

    Args:
        play: what happens to a job once it has been created.
        version: version of Kubeflow Trainer; empty for none.
        deletion_seconds: time that the pods of a deleted job take to end.
    """

    def __init__(
        self, play: Play = lambda _server, _job: None, *, version: str = "2.3", deletion_seconds: float = 0.0
    ) -> None:
        self.play, self.version, self.deletion_seconds = play, version, deletion_seconds
        self.schema = schema_of(version) if version else {}
        self.jobs: dict[str, Json] = {}
        self.pods: dict[str, Json] = {}
        self.events: list[Json] = []
        self.logs: dict[str, list[str]] = {}
        self.created: list[Json] = []
        self.oldest_version = 0
        """Watches from an earlier version fail with 410."""
        self.errors: list[BaseException] = []
        """Errors raised by plays."""
        self.changed = threading.Condition(threading.RLock())
        self._history: list[tuple[int, str, Json]] = []
        self._versions = itertools.count(1)
        self._ticks = itertools.count(1)

    # Actions of plays and tests.

    def start(self, job: str, nodes: int = 2, phase: str = "Running") -> list[str]:
        """Create the job's pods."""
        return [self.add_pod(job, node, phase) for node in range(nodes)]

    def add_pod(self, job: str, node: int, phase: str = "Running") -> str:
        """Create a pod of a job."""
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
        """Let a pod's container wait."""
        self._pod(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def write(self, pod: str, *lines: str) -> None:
        """Append lines to a pod's log."""
        with self.changed:
            for line in lines:
                tick = next(self._ticks)
                # The server writes times without trailing zeros.
                moment = f"2026-01-01T00:00:{tick // 100:02d}.{tick % 100:02d}".rstrip("0").rstrip(".")
                self.logs[pod].append(f"{moment}Z {line}")
            self.changed.notify_all()

    def reject_pod(self, pod: str, reason: str) -> None:
        """Let the kubelet reject a pod: none of its containers starts."""
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
        """End a pod, and the proxy in it if there is one."""
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
            sidecar = {
                **_container({"terminated": {**stopped, "exitCode": 0, "reason": "Completed"}}),
                "name": "istio-proxy",
            }
            self.pods[pod]["status"]["containerStatuses"].insert(0, sidecar)

    def delete_pods(self, job: str) -> None:
        """Delete a job's pods, as happens if their nodes are lost."""
        with self.changed:
            for name in [name for name in self.pods if name.startswith(f"{job}-")]:
                del self.pods[name]
            self.changed.notify_all()

    def set_condition(self, job: str, kind: str, reason: str = "", message: str = "", status: str = "True") -> None:
        """Set a condition of a job."""

        def change(found: Json) -> None:
            others = [each for each in found.setdefault("status", {}).get("conditions", []) if each["type"] != kind]
            condition = {"type": kind, "status": status, "reason": reason or kind, "message": message}
            found["status"]["conditions"] = [*others, {**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}]

        self._change(job, change)

    def set_trainer_status(self, job: str, **status: Any) -> None:
        """Set the progress of a job's training, as its pods do through Trainer's status server."""
        content = {**status, "lastUpdatedTime": "2026-01-01T00:00:00Z"}
        self._change(job, lambda found: found.setdefault("status", {}).update(trainerStatus=content))

    def suspend(self, job: str, suspended: bool) -> None:
        """Suspend a job or let it start, as Kueue does."""
        self._change(job, lambda found: found["spec"].update(suspend=suspended))

    def event(self, kind: str, name: str, reason: str, message: str, category: str = "Warning") -> None:
        """Emit an event about an object."""
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
        """Let a job and its pods succeed."""
        for pod in [name for name in self.pods if name.startswith(f"{job}-")]:
            self.end(pod)
        self.set_condition(job, "Complete", "AllJobsCompleted")

    def fail(
        self, job: str, reason: str = "FailedJobs", message: str = "jobset failed due to one or more job failures"
    ) -> None:
        """Let a job fail."""
        self.set_condition(job, "Failed", reason, message)

    def put(self, job: Json) -> Json:
        """Store a job, whoever created it."""
        with self.changed:
            made = copy.deepcopy(job)
            made["metadata"] |= {"uid": f"uid-{next(self._ticks)}", "creationTimestamp": "2026-01-01T00:00:00Z"}
            self.jobs[made["metadata"]["name"]] = made
            self._record("ADDED", made)
            return made

    def remove(self, job: str) -> None:
        """Delete a job and its pods immediately."""
        with self.changed:
            self.delete_pods(job)
            if (found := self.jobs.pop(job, None)) is not None:
                self._record("DELETED", found)

    def until(self, met: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until a condition is met."""
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline, "timed out"
            time.sleep(0.01)

    # Responses to requests.

    def create_response(self, job: Json, strict: bool) -> tuple[int, Json]:
        with self.changed:
            name = job["metadata"]["name"]
            if name in self.jobs:
                return 409, status(409, "AlreadyExists", f'trainjobs "{name}" already exists')
            if strict and (wrong := problems(self.schema, job)):
                return 400, status(400, "BadRequest", f"strict decoding error: {'; '.join(wrong)}")
            made = self.put(job)
            self.created.append(made)
        threading.Thread(target=self._perform, args=(name,), daemon=True).start()
        return 201, made

    def delete_response(self, name: str, options: Json) -> tuple[int, Json]:
        with self.changed:
            found = self.jobs.get(name)
            if found is None:
                return 404, status(404, "NotFound", f'trainjobs "{name}" not found')
            uid = options.get("preconditions", {}).get("uid", found["metadata"]["uid"])
            if uid != found["metadata"]["uid"]:
                return 409, status(409, "Conflict", "the UID in the precondition does not match")
            if options.get("propagationPolicy") != "Foreground":
                self.remove(name)
                return 200, found
            found["metadata"].setdefault("deletionTimestamp", "2026-01-01T03:00:00Z")
            self._record("MODIFIED", found)
        timer = threading.Timer(self.deletion_seconds, self.remove, [name])
        timer.daemon = True
        timer.start()
        return 200, found

    def patch_response(self, name: str, change: Json) -> tuple[int, Json]:
        with self.changed:
            if name not in self.jobs:
                return 404, status(404, "NotFound", f'trainjobs "{name}" not found')
            self._change(name, lambda found: _merge(found, change))
            return 200, self.jobs[name]

    def watch_events(self, name: str | None, version: int, seconds: float) -> Iterator[Json]:
        deadline, position = time.monotonic() + seconds, 0
        while True:
            with self.changed:
                if version < self.oldest_version:
                    yield {"type": "ERROR", "object": status(410, "Expired", "too old resource version")}
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

    def log_lines(self, pod: str, options: dict[str, str]) -> Iterator[bytes]:
        stamped, follow = is_true(options, "timestamps"), is_true(options, "follow")
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

    def _perform(self, name: str) -> None:
        try:
            self.play(self, name)
        except BaseException as error:  # noqa: BLE001 (the test checks that there is none)
            self.errors.append(error)

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


def status(code: int, reason: str, message: str) -> Json:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def is_true(options: dict[str, str], name: str) -> bool:
    """Parse a boolean as Go does; the Python client writes ``True``."""
    return options.get(name, "").lower() == "true"


def _merge(found: Json, change: Json) -> None:
    for name, value in change.items():
        if isinstance(value, dict) and isinstance(found.get(name), dict):
            _merge(found[name], value)
        else:
            found[name] = value
