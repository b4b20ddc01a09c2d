"""The pods of a run as evidence of how it ended: their phases, exit statuses and logs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vicur.cluster.evidence import Evidence, FailedStep
from vicur.cluster.jobs.names import TASK
from vicur.cluster.log_errors import error_lines, was_killed
from vicur.cluster.workflow import attempt_of, label_of_task, subject_of
from vicur.redaction import redacted
from vicur.stage.table import LAST_STEPS, STEPS

Json = Mapping[str, Any]
ReadLog = Callable[[Json], str]
"""Returns the end of a pod's log, or an empty string."""

MAIN = "main"
"""Argo's name for the container of a step."""
_NODE = "workflows.argoproj.io/node-name"
_KILLED = 137


def evidence_of_pods(pods: Iterable[Json], read_log: ReadLog) -> Evidence:
    """Return what the pods of a run say, while its exit step is running. Pods that Kubernetes has removed are unknown."""
    newest: dict[str, Json] = {}
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp") or "")):
        if _task(pod) not in ("", "outcome"):
            newest[attempt_of(_annotations(pod).get(_NODE) or pod["metadata"]["name"])] = pod
    last = list(newest.values())
    if any(pod.get("spec", {}).get("activeDeadlineSeconds") == 0 for pod in last):
        return Evidence("terminated")
    failed = [_failed_step(pod, read_log(pod)) for pod in last if _has_failed(pod)]
    if failed:
        return Evidence("failed", tuple(sorted(failed, key=lambda step: step.at)))
    done = any(_task(pod) in LAST_STEPS and pod.get("status", {}).get("phase") == "Succeeded" for pod in last)
    return Evidence("succeeded" if done else None)


def _task(pod: Json) -> str:
    return str((pod["metadata"].get("labels") or {}).get(TASK) or "")


def _annotations(pod: Json) -> Json:
    return pod["metadata"].get("annotations") or {}


def _has_failed(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") == "Failed" or bool(_terminated(pod).get("exitCode"))


def _terminated(pod: Json) -> Json:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    states = [each.get("state") or {} for each in statuses if each.get("name") == MAIN]
    return next((state["terminated"] for state in states if state.get("terminated")), {})


def _failed_step(pod: Json, log: str) -> FailedStep:
    task, container = _task(pod), _main(pod)
    subject = subject_of([*(container.get("command") or ()), *(container.get("args") or ())])
    lines = error_lines(log)
    return FailedStep(
        label_of_task(task, subject),
        _problem(pod, log),
        # A process that was killed says nothing itself; the last lines of its log would mislead.
        "" if _out_of_memory(pod, log) or not lines else lines[0].removeprefix("Error: "),
        str(_terminated(pod).get("finishedAt") or ""),
    )


def _problem(pod: Json, log: str) -> str:
    status, ended = pod.get("status") or {}, _terminated(pod)
    if _out_of_memory(pod, log):
        limit = _limits(pod).get("memory")
        setting = memory_setting(_task(pod), has_gpus=any("/" in resource for resource in _limits(pod)))
        certain = "" if ended.get("reason") == "OOMKilled" else "was killed, probably because it "
        return f"{certain}ran out of memory{f' (limit: {limit})' if limit else ''}. Raise {setting} and compile the package again"
    if status.get("reason") == "DeadlineExceeded":
        hours = int(pod.get("spec", {}).get("activeDeadlineSeconds") or 0) / 3600
        setting = "training_timeout_hours" if _task(pod) == "train" else "step_timeout_hours"
        return f"exceeded its time limit{f' of {hours:g} hours' if hours else ''} (cluster.{setting})"
    if status.get("reason"):
        message = redacted(str(status.get("message") or "")).rstrip(".")
        return f"lost its pod ({status['reason']}{f': {message}' if message else ''})"
    code = ended.get("exitCode")
    return "failed" if code is None else f"failed with exit status {code}"


def _out_of_memory(pod: Json, log: str) -> bool:
    ended = _terminated(pod)
    return ended.get("reason") == "OOMKilled" or ended.get("exitCode") == _KILLED or was_killed(log)


def memory_setting(task: str, *, has_gpus: bool) -> str:
    """Return the setting with the memory of a step."""
    if not any(step.stage == task and step.needs.gpus != "none" for step in STEPS):
        return "cluster.steps.memory"
    return "cluster.gpu_steps.memory" if has_gpus else "cluster.cpu_steps.memory"


def _main(pod: Json) -> Json:
    containers = (pod.get("spec") or {}).get("containers") or ()
    return next((each for each in containers if each.get("name") == MAIN), {})


def _limits(pod: Json) -> Json:
    return (_main(pod).get("resources") or {}).get("limits") or {}
