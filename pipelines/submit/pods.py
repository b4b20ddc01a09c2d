"""Pods and workflow of a run, read from Kubernetes if a kubeconfig reaches it. Nothing here is required, and nothing changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vicur_pipelines.submit.server import STANDALONE, Server

from vicur.cluster.connection import ClusterConnection, NoClusterError
from vicur.cluster.jobs.names import TASK
from vicur.cluster.pods import RUN_LABEL

MAIN = "main"  # Argo's name for the container of a step
_NODE = "workflows.argoproj.io/node-id"
_WORKFLOWS = ("argoproj.io", "v1alpha1")
_LINES = 200

Json = Mapping[str, Any]


@dataclass(frozen=True)
class FailedPod:
    """End of a step's pod, with the end of its log."""

    name: str
    namespace: str
    task: str  # value of the label vicur.dev/task; empty for a driver
    reason: str  # in one word, such as OOMKilled or Evicted; may be empty
    message: str  # Kubernetes' description; may be empty
    code: int | None
    memory: str  # limit, such as 8Gi; empty if it has none
    has_gpus: bool
    log: str


def namespaces_of(server: Server) -> list[str]:
    """Return the namespaces in which the runs of a server may be, the most likely one first."""
    return list(dict.fromkeys((server.pods_in, STANDALONE)))


class RunInCluster:
    """A run's objects in Kubernetes. If the API is not reachable or refuses, the methods return nothing.

    ``namespaces`` are those in which the run may be, the most likely one first.
    """

    def __init__(self, run_id: str, namespaces: Sequence[str], connection: ClusterConnection | None = None) -> None:
        self._run_id, self._namespaces = run_id, namespaces
        self._connection = connection or ClusterConnection()

    def failed_pods(self, task: str = "", nodes: Sequence[str] = ()) -> list[FailedPod]:
        """Return failed pods, the last one first: those of ``nodes``, or else of the step with the label ``task``, or else of any step."""
        found = [(space, pod) for space in self._namespaces for pod in self._pods(space)]
        mine = [each for each in found if (each[1]["metadata"].get("annotations") or {}).get(_NODE) in nodes]
        if not mine and (task or not nodes):
            mine = [each for each in found if (own := _task(each[1])) and task in (own, "")]
        failed = [(space, pod) for space, pod in mine if _has_failed(pod)]
        failed.sort(key=lambda each: str(each[1]["metadata"].get("creationTimestamp") or ""), reverse=True)
        return [self._failed_pod(space, pod) for space, pod in failed]

    def workflow(self) -> Json | None:
        """Return the run's Argo workflow, if it exists."""
        from kubernetes.client import CustomObjectsApi

        for space in self._namespaces:
            listed = self._call(
                lambda api, space=space: (
                    CustomObjectsApi(api).list_namespaced_custom_object,
                    (*_WORKFLOWS, space, "workflows"),
                    {"label_selector": f"{RUN_LABEL}={self._run_id}"},
                )
            )
            for found in (listed or {}).get("items") or ():
                return dict(found)
        return None

    def node_message(self, nodes: Sequence[str]) -> str:
        """Return Argo's message on the last of a step's pods, such as ``pod deleted``, also after the pod is gone; empty if unknown."""
        known = ((self.workflow() or {}).get("status") or {}).get("nodes") or {}
        messages = (str((known.get(node) or {}).get("message") or "") for node in nodes)
        return next(filter(None, messages), "")

    def is_compressed(self) -> bool | None:
        """Return whether Argo has compressed the workflow's status, so that KFP cannot read it; ``None`` if that is unknown."""
        workflow = self.workflow()
        return None if workflow is None else bool((workflow.get("status") or {}).get("compressedNodes"))

    def _pods(self, space: str) -> list[Json]:
        from kubernetes.client import CoreV1Api

        listed = self._call(
            lambda api: (
                CoreV1Api(api).list_namespaced_pod,
                (space,),
                {"label_selector": f"{RUN_LABEL}={self._run_id}"},
            )
        )
        if listed is None:
            return []
        return [dict(self._connection.api().sanitize_for_serialization(pod)) for pod in listed.items]

    def _failed_pod(self, space: str, pod: Json) -> FailedPod:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        terminated = _terminated(pod) or {}
        container = next(
            (each for each in pod.get("spec", {}).get("containers", ()) if each["name"] == MAIN), {"resources": {}}
        )
        limits = (container.get("resources") or {}).get("limits") or {}
        return FailedPod(
            name,
            space,
            _task(pod),
            status.get("reason") or terminated.get("reason") or "",
            status.get("message") or terminated.get("message") or "",
            terminated.get("exitCode"),
            limits.get("memory", ""),
            any("/" in resource for resource in limits),
            self._log(space, name),
        )

    def _log(self, space: str, pod: str) -> str:
        from kubernetes.client import CoreV1Api

        # Not through the client's own parsing, which turns a log of JSON into something else.
        answer = self._call(
            lambda api: (
                CoreV1Api(api).read_namespaced_pod_log,
                (pod, space),
                {"container": MAIN, "tail_lines": _LINES, "_preload_content": False},
            )
        )
        return "" if answer is None else bytes(answer.data).decode("utf-8", "replace")

    def _call(self, request: Any) -> Any:
        """Call a method of the client, or return ``None`` if that is not possible."""
        from kubernetes.client import ApiException

        try:
            method, arguments, named = request(self._connection.api())
            return self._connection.call(method, *arguments, **named)
        except (NoClusterError, ApiException):
            return None


def _task(pod: Json) -> str:
    return str((pod["metadata"].get("labels") or {}).get(TASK, ""))


def _has_failed(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") == "Failed" or bool((_terminated(pod) or {}).get("exitCode"))


def _terminated(pod: Json) -> Json | None:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    found = next((each for each in statuses if each["name"] == MAIN), {})
    return (found.get("state") or {}).get("terminated") or (found.get("lastState") or {}).get("terminated")
