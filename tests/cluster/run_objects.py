"""Objects of a run as its exit step finds them: the workflow, recorded from KFP 2.17 and Argo 4.0.5, and pods of its steps."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from tests.cluster.cluster_double import NAMESPACE

Json = dict[str, Any]

RUN = "15dd0c8c-ac0e-4fda-a311-760405163b5f"
"""Id of the recorded run."""
EARLIER = "e1f1c1aa-0000-4000-8000-000000000001"
ROOT = "vicur-cluster-nqfbr.root.exit-handler-1"
TRAIN = f"{ROOT}.distillation.for-loop-1.iteration-iterations(0:0).iteration-item.train"
_FILE = Path(__file__).parent / "recorded" / "workflow.json"


class RecordedWorkflow:
    """The workflow of a run with one method that succeeded, as it was while its exit step ran."""

    def __init__(self) -> None:
        self.object: Json = json.loads(_FILE.read_text())
        for node in self.nodes.values():
            if ".onExit" in node["name"]:
                node["phase"] = "Running"

    @property
    def nodes(self) -> Json:
        return self.object["status"]["nodes"]

    def node(self, name: str) -> Json:
        """Return a node by its name."""
        (found,) = [node for node in self.nodes.values() if node["name"] == name]
        return found

    def set_phase(self, name: str, phase: str, message: str = "") -> None:
        """Set the phase of a node, of its attempts, and of all nodes around it up to the exit handler."""
        for node in self.nodes.values():
            around = name.startswith(f"{node['name']}.") and node["name"].startswith(ROOT)
            own = node["name"] == name or node["name"] in (f"{name}.executor", f"{name}.executor(0)")
            if around or own:
                node["phase"] = phase
            if own and node["type"] == "Pod" and message:
                node["message"] = message

    def terminate(self) -> None:
        """Do what Terminate does: KFP sets the deadline to zero, and Argo ends what runs."""
        self.object["spec"]["activeDeadlineSeconds"] = 0
        self.set_phase(TRAIN, "Failed", "workflow shutdown with strategy:  Terminate")

    def cache(self, *, made_by: str = EARLIER) -> None:
        """Let the results of all steps come from the cache, except for those that are never cached."""
        for node in self.nodes.values():
            for each in node.get("outputs", {}).get("parameters", ()):
                uncached = any(name in node["name"] for name in ("preflight", "register", "outcome"))
                if each["name"] == "cached-decision" and not uncached:
                    each["value"] = "true"
            for each in node.get("inputs", {}).get("parameters", ()):
                each["value"] = each["value"].replace(f"/{RUN}/", f"/{made_by}/")

    def compress(self) -> None:
        """Store the nodes as Argo does once they exceed a megabyte."""
        status = self.object["status"]
        status["compressedNodes"] = base64.b64encode(gzip.compress(json.dumps(status.pop("nodes")).encode())).decode()


def pod(task: str, run: str, *, node: str = "", phase: str = "Succeeded", **details: Any) -> Json:
    """Return a pod of a step.

    Args:
        details: ``subject``, ``memory``, ``gpus``, ``code``, ``reason`` (of the container), ``pod_reason``, ``message``, ``deadline``,
            ``created``.
    """
    limits = {"memory": details.get("memory", "8Gi")}
    if details.get("gpus"):
        limits["nvidia.com/gpu"] = str(details["gpus"])
    values = json.dumps({"inputs": {"parameterValues": {"cell": {"subject": details.get("subject", "")}}}})
    code = details.get("code", 0 if phase == "Succeeded" else 1)
    ended = {"exitCode": code, "reason": details.get("reason", "Error" if code else "Completed")}
    times = {"startedAt": "2026-01-01T08:00:00Z", "finishedAt": "2026-01-01T10:00:00Z"}
    container = {"image": "vicur-python", "imageID": "sha256:0", "ready": False, "restartCount": 0}
    created = details.get("created", "2026-01-01T08:00:00Z")
    return {
        "metadata": {
            "name": f"vicur-cluster-nqfbr-{task}-{created[11:16].replace(':', '')}",
            "namespace": NAMESPACE,
            "creationTimestamp": created,
            "labels": {"pipeline/runid": run, "vicur.dev/task": task},
            "annotations": {"workflows.argoproj.io/node-name": node or f"{ROOT}.{task}.executor(0)"},
        },
        "spec": {
            "activeDeadlineSeconds": details.get("deadline", 43200),
            "containers": [
                {"name": "wait", "command": ["argoexec", "wait"]},
                {
                    "name": "main",
                    "command": ["/var/run/argo/argoexec", "emissary", "--", "/kfp-launcher/launch"],
                    "args": ["--executor_input", values],
                    "resources": {"limits": limits},
                },
            ],
        },
        "status": {
            "phase": phase,
            **{
                key: details[name]
                for key, name in (("reason", "pod_reason"), ("message", "message"))
                if name in details
            },
            "containerStatuses": [
                {"name": "main", **container, "state": {"terminated": {**ended, **times}}},
                {"name": "wait", **container, "state": {"terminated": {"exitCode": 0, "reason": "Completed", **times}}},
            ],
        },
    }


def kfp_run(body: str, *, canceled: bool = False) -> Json:
    """Return a run as KFP's API describes it while the exit step runs, in the shape of a recorded answer."""
    states = ["PENDING", "RUNNING", *(["CANCELING"] if canceled else [])]
    tasks = {
        "exit-handler-1": body,
        "exit-handler-1.onExit": "RUNNING",
        "root": "RUNNING",
        "preflight-driver": "SUCCEEDED",
    }
    return {
        "run_id": RUN,
        "state": states[-1],
        "state_history": [{"update_time": "2026-11-30T09:08:25Z", "state": state} for state in states],
        "run_details": {"task_details": [{"display_name": name, "state": state} for name, state in tasks.items()]},
    }
