"""The Argo workflow of a run as evidence of how it ended: its nodes, and whether it was told to stop."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from vicur.cluster.evidence import Evidence, FailedStep, Verdict
from vicur.cluster.jobs.retries import CONNECT_SECONDS, Timing, call_with_retries
from vicur.cluster.pods import RUN_LABEL
from vicur.redaction import redacted
from vicur.stage.table import STEPS, step_label

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Json = Mapping[str, Any]

_PLURAL = "workflows"
_KIND = {"group": "argoproj.io", "version": "v1alpha1", "plural": _PLURAL}
_EXIT = ".onExit"  # suffix of the node around the exit step; without it, the name of the node around all other steps
_ENDED: dict[str, Verdict] = {"Succeeded": "succeeded", "Failed": "failed", "Error": "failed"}
_ATTEMPT = re.compile(r"\(\d+\)$")
_NEVER_CACHED = {"preflight", *(step.name for step in STEPS if not step.needs.cached)}


def workflow_of_run(client: ApiClient, namespace: str, run_id: str, timing: Timing) -> Json | None:
    """Return the workflow of a run, if it exists, or raise :class:`~vicur.errors.VicurError` if the API refuses or does not answer."""
    from kubernetes.client import CustomObjectsApi

    api = CustomObjectsApi(client)
    listed = call_with_retries(
        lambda: api.list_namespaced_custom_object(
            **_KIND,
            namespace=namespace,
            label_selector=f"{RUN_LABEL}={run_id}",
            _request_timeout=(CONNECT_SECONDS, 3 * CONNECT_SECONDS),
        ),
        timing,
    )
    return next(iter((listed or {}).get("items") or ()), None)


def evidence_of_workflow(workflow: Json) -> Evidence:
    """Return what a workflow says about its run, while its exit step is running."""
    nodes = _nodes(workflow)
    body = _body(nodes)
    verdict = _ENDED.get(body.get("phase", "")) if body else None
    # Terminate sets the deadline to zero, and Argo's own stop and terminate set a strategy.
    spec = workflow.get("spec") or {}
    if verdict != "succeeded" and (spec.get("activeDeadlineSeconds") == 0 or spec.get("shutdown")):
        return Evidence("terminated")
    inside = _inside(body, nodes)
    failed = tuple(sorted(_failures(inside), key=lambda step: step.at))
    cached = verdict == "succeeded" and _all_cached(inside)
    return Evidence(verdict, failed, cached, _made_by(inside) if cached else "")


def subject_of(command: Iterable[str]) -> str:
    """Return the name of the model that a step works on, from its launcher's command; empty if it has none."""
    values = _executor_input(command).get("inputs", {}).get("parameterValues") or {}
    named = [values.get(name) for name in ("cell", "step")]
    return next((str(each["subject"]) for each in named if isinstance(each, Mapping) and each.get("subject")), "")


def label_of_task(task: str, subject: str) -> str:
    """Return the label of a step by its task and model: ``evaluate base`` for the task ``evaluate-base``."""
    return step_label(task.removesuffix(f"-{subject}").removesuffix("-with-benchmarks"), subject)


def task_of(node: str) -> str:
    """Return the name of the task that a pod's node belongs to, and is a driver or an executor of."""
    *_, outer, inner = ["", *_ATTEMPT.sub("", node).split(".")]
    return outer if inner == "executor" else inner.removesuffix("-driver")


def attempt_of(node: str) -> str:
    """Return the name that all attempts of a node share."""
    return _ATTEMPT.sub("", node)


def _nodes(workflow: Json) -> list[Json]:
    status = workflow.get("status") or {}
    nodes = status.get("nodes") or {}
    if not nodes and status.get("compressedNodes"):
        # Argo compresses the nodes once they exceed a megabyte, and Kubeflow Pipelines does not read them any more.
        nodes = json.loads(gzip.decompress(base64.b64decode(status["compressedNodes"])))
    return list(nodes.values())


def _body(nodes: list[Json]) -> Json | None:
    exits = [node["name"].removesuffix(_EXIT) for node in nodes if node["name"].endswith(_EXIT)]
    return next((node for node in nodes if node["name"] in exits), None)


def _inside(body: Json | None, nodes: list[Json]) -> list[Json]:
    if body is None:
        return []
    name = body["name"]
    # The exit step's name begins with that of the node whose end it follows.
    below = [node for node in nodes if node["name"].startswith(f"{name}.")]
    return [node for node in below if not node["name"].startswith(f"{name}{_EXIT}")]


def _failures(nodes: list[Json]) -> list[FailedStep]:
    by_name = {node["name"]: node for node in nodes}
    # Shorter names first: attempt 9 comes before attempt 10.
    pods = sorted(
        (node for node in nodes if node.get("type") == "Pod"), key=lambda node: (len(node["name"]), node["name"])
    )
    last = {attempt_of(node["name"]): node for node in pods}
    failed = {name: node for name, node in last.items() if _ENDED.get(node.get("phase", "")) == "failed"}
    # The node around the attempts has another name only if there is a strategy for retries.
    return [
        _failed_step(node)
        for name, node in failed.items()
        if name == node["name"] or by_name.get(name, {}).get("phase") != "Succeeded"
    ]


def _failed_step(node: Json) -> FailedStep:
    task = task_of(node["name"])
    driver = _ATTEMPT.sub("", node["name"]).endswith("-driver")
    message = redacted(str(node.get("message") or "")).strip().rstrip(".")
    problem = "could not be started, because its driver failed" if driver else "failed"
    return FailedStep(
        label_of_task(task, subject_of(_command(node))),
        problem + (f" ({message})" if message else ""),
        at=str(node.get("finishedAt") or ""),
    )


def _all_cached(nodes: list[Json]) -> bool:
    decisions = {
        task: parameters["cached-decision"] == "true"
        for node in nodes
        if "cached-decision" in (parameters := _parameters(node, "outputs"))
        and (task := task_of(node["name"])) not in _NEVER_CACHED
    }
    return bool(decisions) and all(decisions.values())


def _made_by(nodes: list[Json]) -> str:
    """Return the run that made the inputs of the steps that are never cached."""
    makers: Counter[str] = Counter()
    for node in nodes:
        artifacts = _executor_input(_command(node)).get("inputs", {}).get("artifacts") or {}
        for each in (found for group in artifacts.values() for found in group.get("artifacts") or ()):
            # .../<pipeline>/<run>/<task>/<execution>/<artifact>
            parts = str(each.get("uri", "")).split("/")
            if len(parts) > 4:
                makers[parts[-4]] += 1
    return makers.most_common(1)[0][0] if makers else ""


def _parameters(node: Json, of: str) -> dict[str, str]:
    listed = (node.get(of) or {}).get("parameters") or ()
    return {each["name"]: str(each.get("value") or "") for each in listed}


def _command(node: Json) -> list[str]:
    """Return the command that KFP's driver wrote for a step's pod."""
    try:
        patch = json.loads(_parameters(node, "inputs").get("pod-spec-patch") or "{}")
        return [str(each) for container in patch.get("containers") or () for each in container.get("command") or ()]
    except (ValueError, AttributeError):
        return []


def _executor_input(command: Iterable[str]) -> dict[str, Any]:
    words = iter(command)
    try:
        found: Any = json.loads(next(words)) if "--executor_input" in words else {}
    except (ValueError, StopIteration):
        return {}
    return found if isinstance(found, dict) else {}
