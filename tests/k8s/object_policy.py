"""Rules for the objects of an overlay that no schema contains: rights, references, labels, limits."""

from __future__ import annotations

from collections.abc import Iterator

from tests.k8s.admission import admission_problems
from tests.k8s.pod_files import path_problems
from tests.k8s.pod_policy import SECRETS, enum_problems, pod_problems
from tests.k8s.render import Manifest, pod_templates, title

OUTSIDE = {
    "overlays/multi-user": frozenset({"ClusterQueue/vicur-gpu"}),
    "overlays/kserve": frozenset({"ConfigMap/vicur-endpoints"}),
    "overlays/serving": frozenset({"ConfigMap/vicur-endpoints"}),
    "jobs/stage-models": frozenset(
        {"ServiceAccount/vicur-trainer", "ConfigMap/vicur-endpoints", "PersistentVolumeClaim/vicur-models"}
    ),
}
"""Objects that an overlay takes from another one, which is applied first."""
_POWERS = {"bind", "escalate", "impersonate"}
_CLUSTER_WIDE = {
    "Namespace",
    "ClusterQueue",
    "ResourceFlavor",
    "WorkloadPriorityClass",
    "ClusterRole",
    "ClusterRoleBinding",
}


def all_problems(manifests: list[Manifest], outside: frozenset[str] = frozenset()) -> list[str]:
    """Return all problems of a rendered overlay. ``outside`` are the titles of objects that another overlay creates."""
    found = []
    for manifest in manifests:
        name = title(manifest)
        found += [f"{name}: {text}" for text in (*enum_problems(manifest), *_object_problems(manifest))]
    for name, template in pod_templates(manifests).items():
        found += [
            f"{name}: {text}"
            for text in pod_problems(
                template, serves=name.startswith(("Deployment/", "StatefulSet/", "InferenceService/"))
            )
        ]
        found += [f"{name}: {text}" for c in template["spec"]["containers"] for text in path_problems(c, manifests)]
    found += [
        f"{name} does not exist, but {by} refers to it"
        for by, name in _references(manifests)
        if name not in _names(manifests) | outside
    ]
    return [
        *found,
        *_subject_problems(manifests),
        *_service_problems(manifests),
        *_disruption_problems(manifests),
        *_bounds_problems(manifests),
        *admission_problems(manifests),
    ]


def _names(manifests: list[Manifest]) -> set[str]:
    return {title(m) for m in manifests}


def _object_problems(manifest: Manifest) -> Iterator[str]:
    kind = manifest["kind"]
    if kind not in _CLUSTER_WIDE and not manifest["metadata"].get("namespace"):
        yield "it has no namespace"
    if manifest["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != "vicur":
        yield "its label app.kubernetes.io/part-of is not vicur, so selectors do not find it"
    if kind == "Secret":
        yield "it is a secret, and secrets must not be in the repository"
    if kind in ("Role", "ClusterRole"):
        for rule in manifest["rules"]:
            yield from _rule_problems(rule)
    if kind == "ClusterRoleBinding" and manifest["roleRef"]["name"] in ("cluster-admin", "admin", "edit"):
        yield f"it binds {manifest['roleRef']['name']}"
    if kind == "Service" and manifest["spec"].get("type", "ClusterIP") != "ClusterIP":
        yield "it opens a port outside the cluster"
    if kind == "NetworkPolicy":
        for direction in ("ingress", "egress"):
            if any(not rule for rule in manifest["spec"].get(direction, [])):
                yield f"a rule of {direction} allows everything"
    if kind == "Namespace" and manifest["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "it does not enforce the restricted profile"


def _rule_problems(rule: Manifest) -> Iterator[str]:
    for field in ("apiGroups", "resources", "verbs", "resourceNames"):
        if any("*" in value for value in rule.get(field, [])):
            yield f"a wildcard in {field}"
    if powers := _POWERS & set(rule["verbs"]):
        yield f"the verb {', '.join(powers)} grants more than the role has"
    if "secrets" in rule["resources"] and not rule.get("resourceNames"):
        yield "it may read every secret"
    if {"pods/exec", "pods/attach", "pods/portforward"} & set(rule["resources"]):
        yield "it may execute commands in pods"
    if "pods" in rule["resources"] and "create" in rule["verbs"]:
        yield "it may create pods, and thereby use every account and secret of the namespace"


def _references(manifests: list[Manifest]) -> Iterator[tuple[str, str]]:
    """Yield references between objects: (title, title of the other object)."""
    for manifest in manifests:
        by, spec = title(manifest), manifest.get("spec", {})
        match manifest["kind"]:
            case "RoleBinding" | "ClusterRoleBinding":
                yield by, f"{manifest['roleRef']['kind']}/{manifest['roleRef']['name']}"
                yield from ((by, f"{s['kind']}/{s['name']}") for s in manifest["subjects"])
            case "LocalQueue":
                yield by, f"ClusterQueue/{spec['clusterQueue']}"
            case "ClusterQueue":
                yield from ((by, f"ResourceFlavor/{f['name']}") for g in spec["resourceGroups"] for f in g["flavors"])
            case "StatefulSet":
                yield by, f"Service/{spec['serviceName']}"
            case "InferenceService":
                yield by, f"ServingRuntime/{spec['predictor']['model']['runtime']}"
    for by, template in pod_templates(manifests).items():
        yield from (
            (by, name) for name in _pod_references(template["spec"]) if name not in {f"Secret/{s}" for s in SECRETS}
        )


def _pod_references(spec: Manifest) -> Iterator[str]:
    if "serviceAccountName" in spec:
        yield f"ServiceAccount/{spec['serviceAccountName']}"
    kinds = {"configMap": ("ConfigMap", "name"), "secret": ("Secret", "secretName")}
    for volume in spec.get("volumes", []):
        for field, (kind, name) in kinds.items():
            if field in volume:
                yield f"{kind}/{volume[field][name]}"
        if "persistentVolumeClaim" in volume:
            yield f"PersistentVolumeClaim/{volume['persistentVolumeClaim']['claimName']}"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for source in container.get("envFrom", []):
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if field in source:
                    yield f"{kind}/{source[field]['name']}"
        for variable in container.get("env", []):
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if field in variable.get("valueFrom", {}):
                    yield f"{kind}/{variable['valueFrom'][field]['name']}"


def _subject_problems(manifests: list[Manifest]) -> Iterator[str]:
    homes = {m["metadata"]["name"]: m["metadata"]["namespace"] for m in manifests if m["kind"] == "ServiceAccount"}
    for binding in (m for m in manifests if m["kind"] in ("RoleBinding", "ClusterRoleBinding")):
        for subject in binding["subjects"]:
            if subject["name"] in homes and subject.get("namespace") != homes[subject["name"]]:
                yield f"{title(binding)}: it binds an account of another namespace, or of none"


def _selected(manifests: list[Manifest], labels: dict[str, str]) -> list[Manifest]:
    return [t for t in pod_templates(manifests).values() if labels.items() <= t["metadata"].get("labels", {}).items()]


def _service_problems(manifests: list[Manifest]) -> Iterator[str]:
    for service in (m for m in manifests if m["kind"] == "Service"):
        pods = _selected(manifests, service["spec"]["selector"])
        if not pods:
            yield f"{title(service)}: its selector finds no pod"
        ports = {p["name"] for pod in pods for c in pod["spec"]["containers"] for p in c.get("ports", [])}
        yield from (
            f"{title(service)}: no pod has a port {port['targetPort']}"
            for port in service["spec"]["ports"]
            if pods and port["targetPort"] not in ports
        )


def _disruption_problems(manifests: list[Manifest]) -> Iterator[str]:
    budgets = [m for m in manifests if m["kind"] == "PodDisruptionBudget"]
    for deployment in (m for m in manifests if m["kind"] == "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        mine = [b for b in budgets if b["spec"]["selector"]["matchLabels"].items() <= labels.items()]
        replicas = deployment["spec"]["replicas"]
        if replicas > 1 and not mine:
            yield f"{title(deployment)}: several replicas and no disruption budget"
        if any(b["spec"]["minAvailable"] >= replicas for b in mine):
            yield f"{title(deployment)}: its disruption budget lets no node be drained"
    for budget in budgets:
        if not _selected(manifests, budget["spec"]["selector"]["matchLabels"]):
            yield f"{title(budget)}: its selector finds no pod"


def _bounds_problems(manifests: list[Manifest]) -> Iterator[str]:
    kinds = {m["kind"] for m in manifests}
    # A namespace is applied alone, before the overlay with its limits.
    if "Namespace" in kinds and pod_templates(manifests):
        yield from (f"the namespace has no {kind}" for kind in ("ResourceQuota", "LimitRange") if kind not in kinds)
