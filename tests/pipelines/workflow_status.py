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

from tests.pipelines.kfp_execution import Artifact, Executed, Execution, Spec

RUN = "15dd0c8c-ac0e-4fda-a311-760405163b5f"
UNIQUE = "98851479-6924-408b-96d6-908c11c0e562"
SESSION = json.dumps(
    {
        "Provider": "minio",
        "Params": {
            "accessKeyKey": "accesskey",
            "disableSSL": "true",
            "endpoint": "seaweedfs.kubeflow:9000",
            "fromEnv": "false",
            "maxRetries": "5",
            "region": "minio",
            "secretKeyKey": "secretkey",
            "secretName": "mlpipeline-minio-artifact",
        },
    },
    separators=(",", ":"),
)
WHEN = "2026-11-30T09:08:00Z"
Metadata = Callable[[Artifact], Mapping[str, Any]]


def go_json(value: Any) -> str:
    """JSON as Go writes it: compact, and with the characters of HTML escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


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


def _uri(pipeline: str, task: str, output: str) -> str:
    return f"minio://mlpipeline/v2/artifacts/{pipeline}/{RUN}/{task}/{UNIQUE}/{output}"


def executor_input(step: Executed, pipeline: str, metadata: Metadata) -> Spec:
    """What the driver resolves for a container, and the artifacts that it is to write."""

    def stored(artifact: Artifact) -> Spec:
        properties = {"display_name": artifact.output, "store_session_info": SESSION, **metadata(artifact)}
        return {"name": "120", "uri": _uri(pipeline, artifact.task, artifact.output), "metadata": properties}

    inputs: dict[str, Any] = {}
    if step.artifacts:
        inputs["artifacts"] = {
            key: {"artifacts": [stored(each) for each in found]} for key, found in step.artifacts.items()
        }
    if step.parameters:
        inputs["parameterValues"] = step.parameters
    written: dict[str, Any] = {"executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}}, **step.outputs}
    outputs: dict[str, Any] = {
        "artifacts": {
            key: {"artifacts": [{"name": key, "type": each["artifactType"], "uri": _uri(pipeline, step.name, key)}]}
            for key, each in written.items()
        }
    }
    root = f"/minio/mlpipeline/v2/artifacts/{pipeline}/{RUN}/{step.name}/{UNIQUE}"
    parameters = (step.component.get("outputDefinitions") or {}).get("parameters") or {}
    if parameters:
        outputs["parameters"] = {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in parameters}  # noqa: S108
    outputs["outputFile"] = f"{root}/output_metadata.json"
    return {"inputs": inputs, "outputs": outputs}


def pod_spec_patch(step: Executed, pipeline: str, metadata: Metadata) -> str:
    """The patch that the driver makes for a container."""
    container, kubernetes = step.container, step.kubernetes
    component = dict(step.component)
    outputs = dict(component.get("outputDefinitions") or {})
    outputs["artifacts"] = {
        "executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}},
        **(outputs.get("artifacts") or {}),
    }
    component["outputDefinitions"] = outputs
    flags = {
        "pipeline_name": pipeline,
        "run_id": RUN,
        "execution_id": "140",
        "executor_input": go_json(executor_input(step, pipeline, metadata)),
        "component_spec": go_json(component),
        "pod_name": "$(KFP_POD_NAME)",
        "pod_uid": "$(KFP_POD_UID)",
        "ml_pipeline_server_address": "ml-pipeline.kubeflow.svc.cluster.local",
        "ml_pipeline_server_port": "8887",
        "mlmd_server_address": "metadata-grpc-service.kubeflow.svc.cluster.local",
        "mlmd_server_port": "8080",
    }
    command = [part for name, value in flags.items() for part in (f"--{name}", value)]
    main: dict[str, Any] = {
        "name": "main",
        "image": container["image"],
        "command": ["/kfp-launcher/launch", *command, *["--publish_logs", "true"] * 2, "--"],
        "args": [*container.get("command", ()), *container.get("args", ())],
        "env": _environment(container, kubernetes),
        "resources": _resources(container.get("resources") or {}),
    }
    pod: dict[str, Any] = {}
    volumes, mounts = _volumes(kubernetes)
    if volumes:
        pod["volumes"] = volumes
        main["volumeMounts"] = mounts
    main["securityContext"] = {"capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    pod["containers"] = [main]
    if "activeDeadlineSeconds" in kubernetes:
        pod["activeDeadlineSeconds"] = int(kubernetes["activeDeadlineSeconds"])
    # Values of a real pool; whether they come from parameters or are fixed in the package makes no difference here.
    if "nodeSelector" in kubernetes:
        pod["nodeSelector"] = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    if "tolerations" in kubernetes:
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    return go_json(pod)


def _environment(container: Spec, kubernetes: Spec) -> list[Spec]:
    made: list[Spec] = [dict(each) for each in container.get("env", ())]
    for source, reference, key in (
        ("secretAsEnv", "secretKeyRef", "secret"),
        ("configMapAsEnv", "configMapKeyRef", "configMap"),
    ):
        for each in kubernetes.get(source, ()):
            for pair in each["keyToEnv"]:
                value = {"name": each[f"{key}Name"], "key": pair[f"{key}Key"], "optional": each.get("optional", False)}
                made.append({"name": pair["envVar"], "valueFrom": {reference: value}})
    for each in kubernetes.get("fieldPathAsEnv", ()):
        made.append({"name": each["name"], "valueFrom": {"fieldRef": {"fieldPath": each["fieldPath"]}}})
    return made


def _resources(declared: Spec) -> Spec:
    made: dict[str, dict[str, Any]] = {"limits": {}, "requests": {}}
    for name, key in (("Cpu", "cpu"), ("Memory", "memory")):
        for bound, place in (("Limit", "limits"), ("Request", "requests")):
            if f"resource{name}{bound}" in declared:
                made[place][key] = declared[f"resource{name}{bound}"]
    if "accelerator" in declared:
        accelerator = declared["accelerator"]
        made["limits"][accelerator["resourceType"]] = accelerator["resourceCount"]
    return made


def _volumes(kubernetes: Spec) -> tuple[list[Spec], list[Spec]]:
    volumes: list[Spec] = []
    mounts: list[Spec] = []
    for each in kubernetes.get("pvcMount", ()):
        volumes.append({"name": each["constant"], "persistentVolumeClaim": {"claimName": each["constant"]}})
        mounts.append({"name": each["constant"], "mountPath": each["mountPath"]})
    for each in kubernetes.get("emptyDirMounts", ()):
        source = {"medium": each["medium"], "sizeLimit": each["sizeLimit"]}
        volumes.append({"name": each["volumeName"], "emptyDir": source})
        mounts.append({"name": each["volumeName"], "mountPath": each["mountPath"]})
    for kind, source_name, key in (
        ("secretAsVolume", "secret", "secretName"),
        ("configMapAsVolume", "configMap", "name"),
    ):
        for each in kubernetes.get(kind, ()):
            name = each.get(f"{source_name}Name") or each["secretName"]
            volumes.append({"name": name, source_name: {key: name, "optional": each.get("optional", False)}})
            mounts.append({"name": name, "mountPath": each["mountPath"]})
    return volumes, mounts
