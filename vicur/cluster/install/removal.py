"""Remove an overlay. Claims, secrets and the namespace are kept unless their deletion is requested."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from vicur.cluster.install import secret_values
from vicur.cluster.install.kubectl import Kubectl, Object
from vicur.cluster.install.manifests import PARTS, Kustomizations, namespace_of, title
from vicur.cluster.install.preparation import claims_of
from vicur.errors import VicurError

_TASK = "vicur.dev/task"
# Kueue keeps a ClusterQueue until its workloads have ended.
_TIMEOUT = "--timeout=5m"


@dataclass(frozen=True)
class Removal:
    """The objects and data that an uninstallation deletes.

    Attributes:
        objects: existing objects of the overlay.
        data: existing claims and secrets, and the namespace if it is part of the kustomizations, as ``kind/name``.
    """

    namespace: str
    objects: list[Object]
    data: list[str]

    @classmethod
    def of(cls, kubectl: Kubectl, kustomizations: Kustomizations) -> Removal:
        """Look at the cluster. Changes nothing.

        Raises:
            VicurError: if steps of runs are still in progress.
        """
        rendered = {part: kustomizations.render(kubectl, part) for part in PARTS}
        namespace = namespace_of(rendered["overlays"], kustomizations)
        if not kubectl.get("namespace", namespace):
            return cls(namespace, [], [])
        # Without its definition a custom resource cannot exist, and kubectl would reject the whole list.
        served = set(kubectl.run("api-versions").split())
        known = [each for each in rendered["overlays"] if each["apiVersion"] in served]
        present = {title(each) for each in _existing(kubectl, known)}
        _require_idle(kubectl, namespace)
        claims = [each["metadata"]["name"] for each in rendered["storage"]] + claims_of(rendered["overlays"])
        found = {each["metadata"]["name"] for each in kubectl.get("persistentvolumeclaims", namespace=namespace)}
        data = [f"persistentvolumeclaim/{name}" for name in claims if name in found]
        data += [f"secret/{name}" for name in sorted(secret_values.existing(kubectl, namespace))]
        data += [title(each).lower() for each in rendered["namespaces"]]
        return cls(namespace, [each for each in known if title(each) in present], data)

    def delete_objects(self, kubectl: Kubectl) -> None:
        """Delete the overlay's objects and wait until they are gone."""
        if self.objects:
            text = yaml.safe_dump_all(self.objects)
            kubectl.run("delete", "--ignore-not-found", "--wait", _TIMEOUT, "-f", "-", stdin=text)

    def delete_data(self, kubectl: Kubectl) -> None:
        """Delete claims and secrets, then the namespace if it is part of the kustomizations."""
        # The namespace comes last, because its deletion would take the rest along unreported.
        for each in self.data:
            scope = [] if each.startswith("namespace/") else ["-n", self.namespace]
            kubectl.run("delete", each, *scope, "--ignore-not-found", "--wait", _TIMEOUT)


def _existing(kubectl: Kubectl, objects: list[Object]) -> list[Object]:
    if not objects:
        return []
    text = kubectl.run("get", "--ignore-not-found", "-o", "yaml", "-f", "-", stdin=yaml.safe_dump_all(objects))
    found = yaml.safe_load(text) or {"items": []}
    return list(found["items"]) if "items" in found else [found]


def _require_idle(kubectl: Kubectl, namespace: str) -> None:
    pods = kubectl.get("pods", "-l", _TASK, namespace=namespace)
    busy = [each for each in pods if each.get("status", {}).get("phase") in ("Pending", "Running")]
    if busy:
        tasks = sorted({each["metadata"]["labels"][_TASK] for each in busy})
        raise VicurError(
            f"{len(busy)} pods of runs are in progress ({', '.join(tasks)}), which need the overlay's services.",
            where=f"namespace {namespace}",
            remedy="Terminate the runs first, in Kubeflow's UI or with 'kfp run terminate', and wait until "
            f"'kubectl -n {namespace} get pods -l {_TASK}' lists none.",
        )
