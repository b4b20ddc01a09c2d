"""Rules of the API server and its webhooks that no published schema contains: names, selectors, volumes, quantities, ports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.k8s.render import Manifest, pod_templates, title

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15} | {
    f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTP", 1)
}
_QUOTA = re.compile(
    r"(requests|limits)\.(cpu|memory|ephemeral-storage)|requests\.storage|requests\.[\w.-]+/[\w.-]+|pods|persistentvolumeclaims"
    r"|services(\.loadbalancers|\.nodeports)?|count/[\w.]+"
)
_REFERENCE = re.compile(r"\$\((\w+)\)")


def admission_problems(manifests: list[Manifest]) -> Iterator[str]:
    """Yield objects of an overlay that would be rejected or never be admitted."""
    for manifest in manifests:
        yield from (f"{title(manifest)}: {text}" for text in _object_problems(manifest))
    settings = {m["metadata"]["name"]: set(m.get("data", {})) for m in manifests if m["kind"] == "ConfigMap"}
    for name, template in pod_templates(manifests).items():
        finite = name.startswith(("Job/", "TrainingRuntime/"))
        yield from (f"{name}: {text}" for text in _pod_problems(template["spec"], settings, finite))
    yield from _claim_problems(manifests)


def quantity(text: Any) -> float | None:
    """Parse a quantity; ``None`` if it is invalid."""
    match = _QUANTITY.fullmatch(str(text))
    return float(match[1]) * _UNITS.get(match[2] or "", 1.0) if match else None


def _object_problems(manifest: Manifest) -> Iterator[str]:
    kind, spec = manifest["kind"], manifest.get("spec", {})
    if not _NAME.fullmatch(manifest["metadata"]["name"]) or len(manifest["metadata"]["name"]) > 63:
        yield "its name is not valid in Kubernetes"
    if kind in ("Deployment", "StatefulSet"):
        labels = spec["template"]["metadata"].get("labels", {})
        if not spec["selector"]["matchLabels"].items() <= labels.items():
            yield "its selector does not match its own pods"
    if kind == "Deployment" and spec.get("strategy", {}).get("type", "RollingUpdate") not in (
        "RollingUpdate",
        "Recreate",
    ):
        yield f"its strategy does not exist: {spec['strategy']['type']}"
    if kind == "Service" and not all(0 < port["port"] < 65536 for port in spec["ports"]):
        yield "a port is not valid"
    if kind == "Namespace":
        versions = {k: v for k, v in manifest["metadata"]["labels"].items() if k.endswith("-version")}
        yield from (f"{k}: {v}" for k, v in versions.items() if not re.fullmatch(r"latest|v1\.\d+", v))
    if kind == "ResourceQuota":
        yield from (f"{each} is not a resource of a quota" for each in spec["hard"] if not _QUOTA.fullmatch(each))
        yield from (f"{each} is not a quantity" for each in spec["hard"].values() if quantity(each) is None)
    if kind == "LimitRange":
        for each in spec.get("limits", []):
            yield from _over(each.get("defaultRequest", {}), each.get("default", {}))
    if kind == "ClusterQueue":
        yield from _queue_problems(spec)


def _queue_problems(spec: Manifest) -> Iterator[str]:
    covered = {each for group in spec["resourceGroups"] for each in group["coveredResources"]}
    if missing := {"cpu", "memory", "nvidia.com/gpu"} - covered:
        yield f"it does not cover what trainings request, so they wait forever: {', '.join(sorted(missing))}"
    for group in spec["resourceGroups"]:
        for flavor in group["flavors"]:
            if [each["name"] for each in flavor["resources"]] != group["coveredResources"]:
                yield f"flavor {flavor['name']} does not have the covered resources in their order"


def _pod_problems(spec: Manifest, settings: dict[str, set[str]], finite: bool) -> Iterator[str]:
    if finite and spec.get("restartPolicy") not in ("Never", "OnFailure"):
        yield "restartPolicy of a job's pod must not be Always"
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        yield from (f"container {container['name']}: {text}" for text in _container_problems(container, settings))
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        # Those of a StatefulSet come from its claims.
        if unknown := mounted - volumes - {"data"}:
            yield f"container {container['name']}: it mounts a volume that the pod does not have: {', '.join(unknown)}"


def _container_problems(container: Manifest, settings: dict[str, set[str]]) -> Iterator[str]:
    resources = container.get("resources", {})
    for each in (*resources.get("requests", {}).values(), *resources.get("limits", {}).values()):
        if quantity(each) is None:
            yield f"{each} is not a quantity"
    yield from _over(resources.get("requests", {}), resources.get("limits", {}))
    ports = {port["name"] for port in container.get("ports", [])}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(name, {})
        port = probe.get("httpGet", probe.get("tcpSocket", {})).get("port", 1)
        if isinstance(port, str) and port not in ports:
            yield f"{name} uses a port that the container does not have: {port}"
        if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            yield f"{name} has a successThreshold other than 1"
    known = {variable["name"] for variable in container.get("env", [])}
    for source in container.get("envFrom", []):
        known |= settings.get(source.get("configMapRef", {}).get("name"), set())
    words = [*container.get("command", []), *container.get("args", [])]
    unknown = {name for word in words for name in _REFERENCE.findall(word)} - known
    yield from (f"its command uses a variable that is not set: {name}" for name in unknown)


def _over(requests: Manifest, limits: Manifest) -> Iterator[str]:
    for name in requests.keys() & limits.keys():
        if (quantity(requests[name]) or 0) > (quantity(limits[name]) or 0):
            yield f"it requests more {name} than its limit"


def _claim_problems(manifests: list[Manifest]) -> Iterator[str]:
    users: dict[str, list[str]] = {}
    for name, template in pod_templates(manifests).items():
        for volume in template["spec"].get("volumes", []):
            if claim := volume.get("persistentVolumeClaim"):
                users.setdefault(claim["claimName"], []).append(name)
    for claim in (m for m in manifests if m["kind"] == "PersistentVolumeClaim"):
        if len(users.get(claim["metadata"]["name"], [])) > 1 and "ReadWriteMany" not in claim["spec"]["accessModes"]:
            yield f"{title(claim)}: pods on several nodes mount it, which its access mode does not allow"
