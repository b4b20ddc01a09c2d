"""What the API server or a webhook refuses of an object and no published schema says: names, selectors, volumes, amounts, ports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.k8s.render import Manifest, pod_templates, title

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15} | {
    f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTP", 1)
}
_QUOTA = re.compile(
    r"(requests|limits)\.(cpu|memory|ephemeral-storage)|requests\.storage|requests\.[\w.-]+/[\w.-]+|pods|persistentvolumeclaims"
    r"|services(\.loadbalancers|\.nodeports)?|count/[\w.]+"
)
_REFERENCE = re.compile(r"\$\((\w+)\)")


def admission_problems(manifests: list[Manifest]) -> Iterator[str]:
    """What of an overlay would be refused, or would never be admitted."""
    for manifest in manifests:
        yield from (f"{title(manifest)}: {text}" for text in _object_problems(manifest))
    settings = {m["metadata"]["name"]: set(m.get("data", {})) for m in manifests if m["kind"] == "ConfigMap"}
    for name, template in pod_templates(manifests).items():
        finite = name.startswith(("Job/", "TrainingRuntime/"))
        yield from (f"{name}: {text}" for text in _pod_problems(template["spec"], settings, finite))
    yield from _claim_problems(manifests)


def amount(text: Any) -> float | None:
    """A quantity as a number; none where it is no quantity."""
    found = _AMOUNT.fullmatch(str(text))
    return float(found[1]) * _UNITS.get(found[2] or "", 1.0) if found else None


def _object_problems(manifest: Manifest) -> Iterator[str]:
    kind, spec = manifest["kind"], manifest.get("spec", {})
    if not _NAME.fullmatch(manifest["metadata"]["name"]) or len(manifest["metadata"]["name"]) > 63:
        yield "its name is none that Kubernetes takes"
    if kind in ("Deployment", "StatefulSet"):
        labels = spec["template"]["metadata"].get("labels", {})
        if not spec["selector"]["matchLabels"].items() <= labels.items():
            yield "its selector does not find its own pods"
    if kind == "Deployment" and spec.get("strategy", {}).get("type", "RollingUpdate") not in (
        "RollingUpdate",
        "Recreate",
    ):
        yield f"its strategy is none: {spec['strategy']['type']}"
    if kind == "Service" and not all(0 < port["port"] < 65536 for port in spec["ports"]):
        yield "a port is none"
    if kind == "Namespace":
        versions = {k: v for k, v in manifest["metadata"]["labels"].items() if k.endswith("-version")}
        yield from (f"{k}: {v}" for k, v in versions.items() if not re.fullmatch(r"latest|v1\.\d+", v))
    if kind == "ResourceQuota":
        yield from (f"{each} is no resource of a quota" for each in spec["hard"] if not _QUOTA.fullmatch(each))
        yield from (f"{each} is no amount" for each in spec["hard"].values() if amount(each) is None)
    if kind == "LimitRange":
        for each in spec.get("limits", []):
            yield from _over(each.get("defaultRequest", {}), each.get("default", {}))
    if kind == "ClusterQueue":
        yield from _queue_problems(spec)


def _queue_problems(spec: Manifest) -> Iterator[str]:
    covered = {each for group in spec["resourceGroups"] for each in group["coveredResources"]}
    if wanting := {"cpu", "memory", "nvidia.com/gpu"} - covered:
        yield f"what trainings request is not covered, so they wait for ever: {', '.join(sorted(wanting))}"
    for group in spec["resourceGroups"]:
        for flavor in group["flavors"]:
            if [each["name"] for each in flavor["resources"]] != group["coveredResources"]:
                yield f"flavor {flavor['name']} has not the resources that are covered, in their order"


def _pod_problems(spec: Manifest, settings: dict[str, set[str]], finite: bool) -> Iterator[str]:
    if finite and spec.get("restartPolicy") not in ("Never", "OnFailure"):
        yield "a job's pod is not restarted for ever: restartPolicy"
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        yield from (f"container {container['name']}: {text}" for text in _container_problems(container, settings))
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        # A StatefulSet's own come from its claims.
        if unknown := mounted - volumes - {"data"}:
            yield f"container {container['name']}: it mounts no volume of the pod: {', '.join(unknown)}"


def _container_problems(container: Manifest, settings: dict[str, set[str]]) -> Iterator[str]:
    resources = container.get("resources", {})
    for each in (*resources.get("requests", {}).values(), *resources.get("limits", {}).values()):
        if amount(each) is None:
            yield f"{each} is no amount"
    yield from _over(resources.get("requests", {}), resources.get("limits", {}))
    ports = {port["name"] for port in container.get("ports", [])}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(name, {})
        port = probe.get("httpGet", probe.get("tcpSocket", {})).get("port", 1)
        if isinstance(port, str) and port not in ports:
            yield f"{name} asks a port that it has not: {port}"
        if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            yield f"{name} has another successThreshold than 1"
    known = {variable["name"] for variable in container.get("env", [])}
    for source in container.get("envFrom", []):
        known |= settings.get(source.get("configMapRef", {}).get("name"), set())
    words = [*container.get("command", []), *container.get("args", [])]
    unknown = {name for word in words for name in _REFERENCE.findall(word)} - known
    yield from (f"its command names a variable that nothing sets: {name}" for name in unknown)


def _over(requests: Manifest, limits: Manifest) -> Iterator[str]:
    for name in requests.keys() & limits.keys():
        if (amount(requests[name]) or 0) > (amount(limits[name]) or 0):
            yield f"more {name} is requested than the limit lets it have"


def _claim_problems(manifests: list[Manifest]) -> Iterator[str]:
    users: dict[str, list[str]] = {}
    for name, template in pod_templates(manifests).items():
        for volume in template["spec"].get("volumes", []):
            if claim := volume.get("persistentVolumeClaim"):
                users.setdefault(claim["claimName"], []).append(name)
    for claim in (m for m in manifests if m["kind"] == "PersistentVolumeClaim"):
        if len(users.get(claim["metadata"]["name"], [])) > 1 and "ReadWriteMany" not in claim["spec"]["accessModes"]:
            yield f"{title(claim)}: pods of several nodes mount it, and one node alone can"
