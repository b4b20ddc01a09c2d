"""A double of KFP's driver, as far as it makes the patch of a step's pod. The shapes are those of a recorded run of KFP 2.17.0."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.pipelines.kfp_execution import Artifact, Executed, Spec

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
Metadata = Callable[[Artifact], Mapping[str, Any]]


def go_json(value: Any) -> str:
    """JSON as Go writes it: compact, and with the characters of HTML escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


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
