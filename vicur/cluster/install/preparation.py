"""Look at the cluster before anything is applied: what an overlay needs there, and what would change."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

import yaml

from vicur.cluster.install import secret_values
from vicur.cluster.install.kubectl import Kubectl, KubectlError, Object
from vicur.cluster.install.manifests import PARTS, Kustomizations, Part, namespace_of, title
from vicur.cluster.install.secret_values import NewSecret
from vicur.cluster.install.workloads import states
from vicur.errors import VicurError

_CHANGE = re.compile(r"(?P<object>\S+) (?P<change>created|configured|unchanged)(?: \(.*\))?")
_ADDRESS = re.compile(r"http://mlflow\.(?P<namespace>[a-z0-9-]+)\.svc")
_PROVIDERS = {
    "kueue.x-k8s.io": "Kueue",
    "trainer.kubeflow.org": "Kubeflow Trainer 2",
    "serving.kserve.io": "KServe",
}


@dataclass(frozen=True)
class Prepared:
    """An overlay, rendered and compared with the cluster.

    Attributes:
        objects: objects of each part.
        services: namespace of MLflow.
        stale_jobs: jobs to delete first, because they have failed or differ: jobs are immutable.
    """

    kustomizations: Kustomizations
    objects: dict[Part, list[Object]]
    namespace: str
    services: str
    namespace_exists: bool
    new_secrets: list[NewSecret] = field(default_factory=list)
    kept_secrets: list[str] = field(default_factory=list)
    stale_jobs: list[str] = field(default_factory=list)


def prepare(kubectl: Kubectl, kustomizations: Kustomizations, given: dict[str, NewSecret]) -> Prepared:
    """Render an overlay and check that the cluster can take it. Changes nothing.

    Raises:
        VicurError: if something is missing that this command does not create.
    """
    objects = {part: kustomizations.render(kubectl, part) for part in PARTS}
    overlay = objects["overlays"]
    namespace = namespace_of(overlay, kustomizations)
    services = services_of(overlay, namespace)
    # The first request: a wrong context or a missing cluster is reported here.
    exists = bool(kubectl.get("namespace", namespace))
    if not exists and not objects["namespaces"]:
        raise VicurError(
            f"the namespace {namespace} does not exist.",
            where=f"overlay {kustomizations.overlay}",
            remedy=_ORIGIN[kustomizations.overlay],
        )
    _require_apis(kubectl, [each for part in PARTS for each in objects[part]])
    if services != namespace and not kubectl.get("deployment", "mlflow", namespace=services):
        raise VicurError(
            f"MLflow does not run in the namespace {services}, which the overlay uses.",
            where=f"overlay {kustomizations.overlay}",
            remedy="Install the overlay gpu-pool first: vicur install gpu-pool",
        )
    present = secret_values.existing(kubectl, namespace) if exists else {}
    _require_password_of_database(kubectl, overlay, namespace, {*present, *given})
    new = secret_values.missing_secrets(kubectl, kustomizations.overlay, overlay, namespace, services, given, present)
    stale = _stale_jobs(kubectl, overlay, namespace) if exists else []
    return Prepared(kustomizations, objects, namespace, services, exists, new, sorted(present), stale)


_ORIGIN = {
    "dev": "Install standalone Kubeflow Pipelines first, which creates it and runs every step there.",
    "multi-user": "Name an existing profile with --namespace; the profile controller creates its namespace.",
    "gpu-pool": "Create it, or add namespaces/gpu-pool to the folder of --manifests.",
}


def services_of(overlay: list[Object], namespace: str) -> str:
    """Return the namespace of MLflow, from the address that steps use."""
    addresses = (m["data"].get("MLFLOW_TRACKING_URI", "") for m in overlay if title(m) == "ConfigMap/vicur-endpoints")
    match = _ADDRESS.match(next(addresses, ""))
    return match["namespace"] if match else namespace


def changes(kubectl: Kubectl, prepared: Prepared, part: Part) -> list[tuple[str, str]]:
    """Return each object of a part, and how applying it would change it: ``created``, ``configured`` or ``unchanged``.

    The API server validates the objects if their namespace exists.
    """
    mode = "server" if prepared.namespace_exists or part == "namespaces" else "client"
    # The API server would reject them: they are deleted first.
    stale = {each.lower() for each in prepared.stale_jobs}
    objects = [each for each in prepared.objects[part] if title(each).lower() not in stale]
    text = kubectl.run("apply", f"--dry-run={mode}", "-f", "-", stdin=yaml.safe_dump_all(objects)) if objects else ""
    replaced = [(f"job.batch/{each.partition('/')[2]}", "replaced") for each in prepared.stale_jobs]
    return parse_changes(text) + (replaced if part == "overlays" else [])


def parse_changes(text: str) -> list[tuple[str, str]]:
    """Return object and change of each line that ``kubectl apply`` prints."""
    matches = (_CHANGE.fullmatch(line.strip()) for line in text.splitlines())
    return [(match["object"], match["change"]) for match in matches if match]


def _require_apis(kubectl: Kubectl, objects: list[Object]) -> None:
    served = set(kubectl.run("api-versions").split())
    for version in dict.fromkeys(each["apiVersion"] for each in objects):
        if version not in served:
            group = version.partition("/")[0]
            provider = _PROVIDERS.get(group, f"what serves {group}")
            kinds = sorted({each["kind"] for each in objects if each["apiVersion"] == version})
            others = sorted(each for each in served if each.startswith(f"{group}/"))
            raise VicurError(
                f"the cluster does not serve {version} ({', '.join(kinds)})"
                + (f", but {', '.join(others)}." if others else "."),
                where="prerequisites",
                remedy=f"Install {provider} in a version that serves it (docs/kubernetes.md, step 1), or leave these objects out of your "
                "own overlay.",
            )


def claims_of(overlay: list[Object]) -> list[str]:
    """Return the names of the claims that StatefulSets create from their templates."""
    return [
        f"{template['metadata']['name']}-{each['metadata']['name']}-{number}"
        for each in overlay
        if each["kind"] == "StatefulSet"
        for template in each["spec"].get("volumeClaimTemplates", [])
        for number in range(each["spec"].get("replicas", 1))
    ]


def _require_password_of_database(
    kubectl: Kubectl, overlay: list[Object], namespace: str, known: Collection[str]
) -> None:
    """Refuse to generate a new password for an existing database, which would reject it."""
    claims = claims_of(overlay)
    if not claims or secret_values.MLFLOW_SERVER in known:
        return
    if kubectl.get("persistentvolumeclaim", claims[0], namespace=namespace):
        raise VicurError(
            f"the claim {claims[0]} holds MLflow's database, but the secret {secret_values.MLFLOW_SERVER} with its password does not "
            "exist.",
            where=f"namespace {namespace}",
            remedy=f"Restore the secret (--secret {secret_values.MLFLOW_SERVER}=FILE creates it from a file), or delete the database: "
            f"kubectl -n {namespace} delete persistentvolumeclaim {claims[0]}",
        )


def queue_warning(kubectl: Kubectl, overlay: list[Object], namespace: str) -> str:
    """Return a warning if a ClusterQueue does not admit the namespace's pods, which would wait forever; empty otherwise."""
    for queue in (each["spec"]["clusterQueue"] for each in overlay if each["kind"] == "LocalQueue"):
        for found in kubectl.get("clusterqueues.kueue.x-k8s.io", queue):
            for rule in found["spec"].get("namespaceSelector", {}).get("matchExpressions", []):
                named = (rule["key"], rule["operator"]) == ("kubernetes.io/metadata.name", "In")
                if named and namespace not in rule["values"]:
                    return (
                        f"the ClusterQueue {queue} does not admit pods of the namespace {namespace}. Add it to the queue's "
                        f"namespaceSelector, in your overlay of gpu-pool, next to {', '.join(rule['values'])}."
                    )
    return ""


def _stale_jobs(kubectl: Kubectl, overlay: list[Object], namespace: str) -> list[str]:
    jobs = [each for each in overlay if each["kind"] == "Job"]
    found = kubectl.get("jobs", namespace=namespace) if jobs else []
    failed = {state.title for state in states(jobs, found) if state.failed}
    return [title(job) for job in jobs if title(job) in failed or _is_immutable(kubectl, job)]


def _is_immutable(kubectl: Kubectl, job: Object) -> bool:
    """Return whether the cluster has the job with another template, which cannot be changed."""
    try:
        kubectl.run("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(job))
    except KubectlError as error:
        if "field is immutable" in error.problem:
            return True
        raise
    return False
