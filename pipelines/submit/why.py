"""Say why a run failed: the failed steps' own errors, from Kubernetes or from the logs that Kubeflow Pipelines keeps."""

# The server's run and its tasks never carry an error's text.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vicur_pipelines.submit.logs import read_log
from vicur_pipelines.submit.packaged import PackagedStep
from vicur_pipelines.submit.pods import FailedPod, RunInCluster, namespaces_of
from vicur_pipelines.submit.server import Server
from vicur_pipelines.submit.tasks import FailedStep

from vicur.cluster.jobs.names import TASK
from vicur.cluster.log_errors import error_lines, was_killed
from vicur.cluster.pods import RUN_LABEL
from vicur.redaction import redacted
from vicur.stage.table import STEPS

if TYPE_CHECKING:
    from vicur_pipelines.submit.follow import Ending

_MOST_STEPS = 3
_LINES = 40
_OUT_OF_MEMORY, _KILLED = "OOMKilled", 137


def reasons(server: Server, run_id: str, ending: Ending, cluster: RunInCluster | None = None) -> list[str]:
    """Return lines that say why a run failed, and the commands that show more."""
    cluster = cluster or RunInCluster(run_id, namespaces_of(server))
    if not ending.failed:
        return list(_lines_without_step(server, run_id, ending, cluster))
    lines = []
    for failed in ending.failed[:_MOST_STEPS]:
        step = ending.steps.get(failed.task) or PackagedStep(failed.task, "", "", has_gpus=False)
        pods = cluster.failed_pods(step.label, failed.nodes) if failed.nodes or step.label else []
        message = "" if pods else cluster.node_message(failed.nodes)
        lines += _step_lines(server, run_id, failed, step, pods[0] if pods else None, message)
    if len(ending.failed) > _MOST_STEPS:
        lines.append(f"{len(ending.failed) - _MOST_STEPS} more steps failed.")
    return lines


def _step_lines(
    server: Server, run_id: str, failed: FailedStep, step: PackagedStep, pod: FailedPod | None, message: str = ""
) -> Iterator[str]:
    log = (pod.log if pod else "") or _kept_log(server, run_id, failed.nodes)
    yield f"{failed.label} failed{_ending_of(pod, message)}:"
    yield from (f"  {line}" for line in error_lines(log) or ["No log of it is available."])
    if memory := _memory(pod, log, step, certain=_OUT_OF_MEMORY in (pod.reason if pod else message)):
        yield f"  {memory}"
    yield f"  Its log: {_command(server, run_id, failed, step, pod)}"


def _kept_log(server: Server, run_id: str, nodes: Sequence[str]) -> str:
    logs = (read_log(server, run_id, node) for node in nodes)
    return next((log for log in logs if log), "")


def _ending_of(pod: FailedPod | None, message: str) -> str:
    if pod is None:
        # Argo's "Error (exit code 2)" adds nothing to the log.
        return "" if not message or message.startswith("Error (exit code") else f" ({redacted(message)})"
    if not pod.reason or pod.reason == "Error":
        return ""
    # A message of Kubernetes may quote a command line.
    message = f": {redacted(pod.message)}" if pod.message else ""
    return f" ({pod.reason}{message})"


def _memory(pod: FailedPod | None, log: str, step: PackagedStep, *, certain: bool) -> str:
    """Return what to do if a step's process was killed for lack of memory; empty if it was not."""
    if not certain and not was_killed(log) and not (pod is not None and pod.code == _KILLED):
        return ""
    limit = (pod.memory if pod else "") or step.memory
    setting = _memory_setting(step, has_gpus=pod.has_gpus if pod else step.has_gpus)
    problem = (
        "It ran out of memory"
        if certain
        else "Its process was killed (exit status 137), most likely for lack of memory"
    )
    return f"{problem}{f' (limit: {limit})' if limit else ''}. Raise {setting}: vicur submit (or compile) --set {setting}=..."


def _memory_setting(step: PackagedStep, *, has_gpus: bool) -> str:
    """Return the setting with a step's memory."""
    name = step.label.replace("-", "_")
    runs_model = any(name in (each.name, each.stage) and each.needs.gpus != "none" for each in STEPS)
    if not runs_model:
        return "cluster.steps.memory"
    return "cluster.gpu_steps.memory" if has_gpus else "cluster.cpu_steps.memory"


def _command(server: Server, run_id: str, failed: FailedStep, step: PackagedStep, pod: FailedPod | None) -> str:
    """Return the command that shows the log of a failed step."""
    space = pod.namespace if pod else server.pods_in
    if pod is not None:
        return f"kubectl logs -n {space} {pod.name} -c main --tail={_LINES}"
    if failed.started and step.label:
        return f"kubectl logs -n {space} -l {RUN_LABEL}={run_id},{TASK}={step.label} -c main --tail={_LINES}"
    # Drivers lack the label of their step.
    return f"kubectl logs -n {space} -l '{RUN_LABEL}={run_id},!{TASK}' -c main --tail={_LINES} --prefix"


def _lines_without_step(server: Server, run_id: str, ending: Ending, cluster: RunInCluster) -> Iterator[str]:
    """Yield the reason of a failure if the server knows no failed step: from the last failed pod, or the workflow's own message."""
    # The server may have stopped reporting steps before one failed.
    for pod in cluster.failed_pods()[:1] if ending.started else ():
        steps = [step for step in ending.steps.values() if step.label == pod.task]
        step = steps[0] if steps else PackagedStep(pod.task, pod.task, "", has_gpus=False)
        yield from _step_lines(server, run_id, FailedStep(pod.task, step.name, ()), step, pod)
        return
    if not ending.started:
        yield "No step of it has started."
    messages = _messages(cluster.workflow() or {})
    yield from (f"The workflow's message: {redacted(message)}" for message in messages)
    if not messages:
        command = (
            f"kubectl get workflows.argoproj.io -n {server.pods_in} -l {RUN_LABEL}={run_id} -o yaml | grep message"
        )
        yield f"Kubeflow Pipelines gives no reason. The workflow's messages: {command}"


def _messages(workflow: Mapping[str, Any]) -> list[str]:
    status = workflow.get("status") or {}
    nodes = [each for each in (status.get("nodes") or {}).values() if each.get("phase") in ("Failed", "Error")]
    found = [status.get("message"), *(each.get("message") for each in nodes)]
    # The workflow usually repeats the message of a node, and nodes that of a node below.
    return list(dict.fromkeys(message for message in found if message))[:_MOST_STEPS]
