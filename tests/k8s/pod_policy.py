"""Rules for pods that no schema contains: Pod Security's restricted profile and further rules of this repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.k8s.render import Manifest

TOKENS = {"vicur-pipeline"}
"""Accounts whose pods call the Kubernetes API."""
SECRETS = {
    "vicur-s3",
    "vicur-mlflow",
    "vicur-hf",
    "vicur-cue",
    "vicur-judge",
    "vicur-student",
    "vicur-webhook",
    "vicur-mlflow-server",
}
"""Names of the secrets that docs/kubernetes.md describes."""
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_ENUMS = {
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "medium": {"", "Memory"},
    "fsGroupChangePolicy": {"OnRootMismatch", "Always"},
    "whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
    "effect": {"NoSchedule", "PreferNoSchedule", "NoExecute"},
    "protocol": {"TCP", "UDP", "SCTP"},
    "policyTypes": {"Ingress", "Egress"},
    "accessModes": {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"},
    "operator": {"In", "NotIn", "Exists", "DoesNotExist", "Equal", "Gt", "Lt"},
}
_CREDENTIAL = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|API_KEY|CREDENTIAL", re.IGNORECASE)


def enum_problems(value: Any, path: str = "") -> Iterator[str]:
    """Yield values that a field does not allow. Kubernetes' published schemas do not contain enumerations."""
    if isinstance(value, list):
        for n, each in enumerate(value):
            yield from enum_problems(each, f"{path}[{n}]")
    if isinstance(value, dict):
        for name, each in value.items():
            for word in each if isinstance(each, list) else [each]:
                if name in _ENUMS and isinstance(word, str) and word not in _ENUMS[name]:
                    yield f"{path}.{name}: {word!r} is not one of {', '.join(sorted(_ENUMS[name]))}"
            yield from enum_problems(each, f"{path}.{name}")


def pod_problems(template: Manifest, *, serves: bool) -> Iterator[str]:
    """Yield the problems of a pod template. A pod that ``serves`` runs forever and needs probes."""
    spec = template["spec"]
    security = spec.get("securityContext", {})
    if security.get("runAsNonRoot") is not True:
        yield "securityContext.runAsNonRoot is not true"
    if not isinstance(user := security.get("runAsUser"), int) or user == 0:
        yield "securityContext.runAsUser is not the number of a user other than root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "securityContext.seccompProfile is not RuntimeDefault"
    yield from (f"{name} is shared with the node" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name))
    account = spec.get("serviceAccountName", "default")
    if account == "default":
        yield "it uses the namespace's default account"
    if account not in TOKENS and spec.get("automountServiceAccountToken") is not False:
        yield f"the account {account} needs no token, so automountServiceAccountToken must be false"
    if template["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != "vicur":
        yield "its label app.kubernetes.io/part-of is not vicur, so no network policy selects it"
    for volume in spec.get("volumes", []):
        if kinds := set(volume) - {"name"} - _VOLUMES:
            yield f"volume {volume['name']} has a type that the restricted profile forbids ({', '.join(kinds)})"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        yield from (f"container {container['name']}: {text}" for text in _container_problems(container, serves))


def _container_problems(container: Manifest, serves: bool) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem is not true"
    if security.get("privileged"):
        yield "it is privileged"
    if security.get("runAsNonRoot") is False or security.get("runAsUser") == 0:
        yield "it overrides the pod's user with root"
    capabilities = security.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities.drop has no ALL"
    if capabilities.get("add"):
        yield "it adds capabilities"
    yield from image_problems(container["image"])
    resources = container.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    yield from (f"it requests no {name}" for name in ("cpu", "memory") if name not in requests)
    if "memory" not in limits:
        yield "it has no memory limit"
    if requests.get("nvidia.com/gpu") != limits.get("nvidia.com/gpu"):
        yield "its requests and limits of GPUs differ"
    if serves:
        yield from (f"it has no {p}" for p in ("readinessProbe", "livenessProbe", "startupProbe") if p not in container)
    for variable in container.get("env", []):
        if "value" in variable and is_credential(variable["name"]):
            yield f"{variable['name']} has a literal value instead of one from a secret"


def is_credential(name: str) -> bool:
    """Return whether a variable contains a secret."""
    return bool(_CREDENTIAL.search(name))


def image_problems(image: str) -> Iterator[str]:
    """Yield the problems of an image reference that may change its content."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if digest:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            yield f"image {image} has an incomplete digest"
    elif not re.search(r"\d", tag):
        yield f"image {image} is not pinned by a version or a digest"
