"""A double of Argo's ``status.nodes``: the bytes that a run of a compiled package leaves in its Workflow object.

Above MAX_WORKFLOW_SIZE (1 MiB for the whole object), Argo moves the nodes to ``status.compressedNodes``, which Kubeflow Pipelines does
not read. The shapes are those of a recorded run (KFP 2.17.0, Argo 4.0.5) and of ``backend/src/v2`` of release 2.17. With KFP's stock
``templateDefaults``, every pod and DAG has a node of the type Retry above it, with the same inputs and outputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.pipelines.kfp_execution import Executed, Execution, Spec
from tests.pipelines.pod_patch import Metadata, go_json, pod_spec_patch

WHEN = "2026-11-30T09:08:00Z"


def _sorted(value: Any) -> str:
    return go_json(json.loads(json.dumps(value, sort_keys=True)))


@dataclass
class WorkflowStatus:
    """The nodes of a run in which every step runs."""

    pipeline: str
    metadata: Metadata = lambda _: {}
    template_defaults: bool = True
    cached: Callable[[Executed], bool] = lambda _: False

    def __post_init__(self) -> None:
        self.workflow = f"{self.pipeline}-nqfbr"
        self.sizes: dict[str, int] = {}
        self.patches: dict[str, int] = {}
        self.count = 0
        self.specification = 0

    @property
    def total(self) -> int:
        return sum(self.sizes.values())

    def add_run(self, execution: Execution) -> WorkflowStatus:
        runtime = _sorted({"parameterValues": execution.arguments})
        self._add("workflow", self._node("", self.workflow, "DAG", "entrypoint", []))
        self.specification = specification_size(execution)
        for each in execution:
            if each.kind == "container":
                self.add_container(each)
            else:
                self.add_dag(each, runtime if each.name == "root" else "")
        self._add(
            "on exit", self._dag(".root.exit-handler-1.onExit", "exit-handler-1.onExit", "exit-hook-root-outcome")
        )
        return self

    def add_dag(self, dag: Executed, runtime: str = "") -> None:
        """Add a DAG: the pod of its driver and its own node; of a loop, also the nodes of its iterations."""
        component, task = _sorted(dag.component), _sorted(dag.task) if dag.task else ""
        display, path = dag.name, dag.path
        if dag.kind == "loop":
            display, path = "iteration", f"{dag.path}.iteration"
            self._add(dag.name, self._dag(dag.path, dag.name, f"comp-{dag.name}-{dag.name}-iterator"))
            group = f"{dag.path}.iteration-iterations"
            self._add(
                dag.name, self._node(group, "iteration-iterations", "TaskGroup", f"comp-{dag.name}-iteration", [])
            )
        elif dag.kind == "iteration":
            display = "iteration-item"
            group = dag.path.removesuffix(".iteration-item")
            self._add(
                dag.name, self._dag(group, group.rpartition(".")[2], f"comp-{dag.name}-iteration", ["iteration-index"])
            )
        self.add_dag_driver(path, display, component, task, runtime, dag.name)
        if dag.kind != "loop":
            self._add(dag.name, self._dag(dag.path, display, f"comp-{dag.name}"))

    def add_dag_driver(self, path: str, display: str, component: str, task: str, runtime: str, name: str) -> None:
        given = [("component", component), ("runtime-config", runtime), ("task", task), ("task-name", name)]
        inputs = [_input(*each, default="" if each[0] != "component" else None) for each in given]
        inputs += [
            _input("parent-dag-id", "12", "0"),
            _input("iteration-index", "-1", "-1"),
            _input("driver-type", "DAG", "DAG"),
        ]
        outputs = [
            _output("execution-id", "125"),
            _output("iteration-count", "0", default="0"),
            _output("condition", "nil", default="true"),
        ]
        self._add(name, self._pod(f"{path}-driver", f"{display}-driver", "system-dag-driver", inputs, outputs))

    def add_container(self, step: Executed) -> None:
        """Add a step: its driver, its DAG, and its container with the node that retries it."""
        patch = "" if self.cached(step) else pod_spec_patch(step, self.pipeline, self.metadata)
        self.patches[step.name] = len(go_json(patch))
        self.add_driven(
            step.path,
            step.name,
            {
                "component": _sorted(step.component),
                "task": _sorted(step.task),
                "container": _sorted(step.executor["container"]),
                "kubernetes-config": _sorted(step.kubernetes),
            },
            patch,
            step.kubernetes.get("podMetadata", {}).get("labels", {}),
            step.task.get("retryPolicy"),
        )

    def add_driven(
        self, path: str, name: str, driver: Mapping[str, str], patch: str, labels: Mapping[str, str], retry: Spec | None
    ) -> None:
        inputs = [_input(key, driver[key]) for key in ("component", "task", "container")]
        inputs += [_input("task-name", name), _input("parent-dag-id", "12"), _input("iteration-index", "-1", "-1")]
        inputs.append(_input("kubernetes-config", driver["kubernetes-config"], ""))
        outputs = [
            _output("pod-spec-patch", patch, default=""),
            {"default": "false", **_output("cached-decision", "false", default="false")},
            _output("condition", "nil", default="true"),
        ]
        self._add(name, self._pod(f"{path}-driver", f"{name}-driver", "system-container-driver", inputs, outputs))
        template = f"metadata-0-{len(labels)}-{'retry-' if retry else ''}system-container"
        of_pod = [
            pair
            for index, (key, value) in enumerate(sorted(labels.items()), 1)
            for pair in (
                _input(f"pod-metadata-label-key-{index}", key),
                _input(f"pod-metadata-label-val-{index}", value),
            )
        ]
        policy = _retries(retry)
        own = [_input("pod-spec-patch", patch), _input("cached-decision", "false", "false"), *of_pod]
        own += [_input(key, value, "0") for key, value in policy]
        self._add(name, self._node(path, name, "DAG", f"{template}-executor", own))
        if not patch:
            return
        below = [_input("pod-spec-patch", patch), *of_pod, *(_input(key, value) for key, value in policy)]
        logs = {"artifacts": [_logs(self.workflow, f"{template}-impl")], "exitCode": "0"}
        retried = self._node(
            f"{path}.executor", "executor", "Retry", f"{template}-impl", below, outputs=logs, retried=False
        )
        pod = self._node(
            f"{path}.executor(0)", "executor(0)", "Pod", f"{template}-impl", below, outputs=logs, retried=False
        )
        self._add(name, retried + pod)

    def add_node(self, path: str, display: str, kind: str, template: str, inputs: list[str]) -> None:
        """Add a node with inputs of a few digits."""
        self._add(display, self._node(path, display, kind, template, [_input(name, "12") for name in inputs]))

    def _pod(self, path: str, display: str, template: str, inputs: list[Spec], parameters: list[Spec]) -> int:
        outputs = {"artifacts": [_logs(self.workflow, template)], "exitCode": "0", "parameters": parameters}
        return self._node(path, display, "Pod", template, inputs, outputs=outputs)

    def _dag(self, path: str, display: str, template: str, more: list[str] | None = None) -> int:
        return self._node(
            path, display, "DAG", template, [_input(name, "12") for name in ("parent-dag-id", *(more or []))]
        )

    def _node(
        self,
        path: str,
        display: str,
        kind: str,
        template: str,
        inputs: list[Spec],
        *,
        outputs: Spec | None = None,
        retried: bool = True,
    ) -> int:
        """Return the bytes of a node, and of the node that retries it under KFP's ``templateDefaults``."""
        node: dict[str, Any] = {
            "boundaryID": f"{self.workflow}-1482445992",
            "children": [f"{self.workflow}-2997813561"],
            "displayName": display,
            "finishedAt": WHEN,
            "id": f"{self.workflow}-1084774034",
            "name": f"{self.workflow}{path}",
            "phase": "Succeeded",
            "progress": "5/5",
            "resourcesDuration": {"cpu": 21, "memory": 1536},
            "startedAt": WHEN,
            "templateName": template,
            "templateScope": f"local/{self.workflow}",
            "type": kind,
        }
        if inputs:
            node["inputs"] = {"parameters": inputs}
        if outputs:
            node["outputs"] = outputs
        if kind == "Pod":
            node |= {"hostNodeName": "vm", "taskResultSynced": True}
        elif kind == "DAG":
            node["outboundNodes"] = [f"{self.workflow}-29444832"]
        sizes = [_size(node)]
        if retried and self.template_defaults and kind in ("Pod", "DAG"):
            attempt = {
                **node,
                "displayName": f"{display}(0)",
                "name": f"{node['name']}(0)",
                "nodeFlag": {"retried": True},
            }
            retry = {key: value for key, value in node.items() if key not in ("hostNodeName", "taskResultSynced")}
            sizes = [_size(attempt), _size({**retry, "type": "Retry"})]
        self.count += len(sizes)
        return sum(sizes)

    def _add(self, name: str, size: int) -> None:
        self.sizes[name] = self.sizes.get(name, 0) + size


# Templates that every workflow has: those of drivers, and of containers with their executor.
_TEMPLATES = 2565 + 1658 + 3138 + 2366 + 2395 + 2446 + 1284 + 2459 + 3402
_PER_TASK = 900  # a task of a DAG template next to its own declaration


def specification_size(execution: Execution) -> int:
    """Bytes of the specification of a workflow: its arguments, and templates that repeat the declarations of tasks."""
    spec = execution.spec
    dags = [*spec["components"].values(), spec["root"]]
    tasks = [task for each in dags for task in each.get("dag", {}).get("tasks", {}).values()]
    containers = [each["container"] for each in spec["deploymentSpec"]["executors"].values()]
    arguments = [len(go_json(_sorted(each))) + 110 for each in (*dags, *containers, *execution.platform.values())]
    declared = [len(go_json(_sorted(task))) + _PER_TASK for task in tasks]
    return sum(arguments) + sum(declared) + len(go_json(_sorted(execution.arguments))) + _TEMPLATES


def _size(node: Mapping[str, Any]) -> int:
    # Each node is an entry of a mapping by its id.
    return len(go_json({node["id"]: node}).encode()) - 1


def _input(name: str, value: str, default: str | None = None) -> Spec:
    return {**({} if default is None else {"default": default}), "name": name, "value": value}


def _output(name: str, value: str, *, default: str | None = None) -> Spec:
    source = {**({} if default is None else {"default": default}), "path": f"/tmp/outputs/{name}"}  # noqa: S108
    return {"name": name, "value": value, "valueFrom": source}


def _logs(workflow: str, template: str) -> Spec:
    key = f"private-artifacts/kubeflow/{workflow}/2026/11/30/{workflow}-{template}-1504160317/main.log"
    return {"name": "main-logs", "s3": {"key": key}}


def _retries(policy: Spec | None) -> list[tuple[str, str]]:
    if policy is None:
        return []
    seconds = [str(policy.get(key, "0")).removesuffix("s") for key in ("backoffDuration", "backoffMaxDuration")]
    return [
        ("retry-max-count", str(policy.get("maxRetryCount", 0))),
        ("retry-backoff-duration", seconds[0]),
        ("retry-backoff-factor", "2"),
        ("retry-backoff-max-duration", seconds[1]),
    ]
