"""The context that a step creates jobs in: the cluster's API, the nodes' image and the owner that jobs are deleted with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicur.cluster.jobs.api import KubernetesApi
from vicur.cluster.jobs.client import connect
from vicur.errors import VicurError


@dataclass(frozen=True)
class JobContext:
    """API, container image of the nodes and owner reference for jobs. Outside a cluster, jobs have no owner."""

    api: KubernetesApi
    image: str
    owner: Mapping[str, Any] | None = None

    @classmethod
    def of_this_process(cls, image: str) -> JobContext:
        """Return the context of this process. An empty ``image`` means the image of this process's pod.

        Raises:
            VicurError: if no cluster is configured, or ``image`` is empty outside a cluster.
        """
        client, location = connect()
        api = KubernetesApi(client, location.namespace)
        pod = api.pod(location.pod) if location.pod else None
        image = image or (_step_image(pod) if pod else "")
        if not image:
            raise VicurError(
                "the image of the training nodes is not set, and outside a cluster there is no pod to take it from.",
                where="cluster.image",
                remedy="Set it to the container image of the nodes.",
            )
        return cls(api, image, _owner_reference(pod) if pod else None)


def _owner_reference(pod: Mapping[str, Any]) -> dict[str, Any]:
    # The workflow, if the pod is one of its steps: it outlives a failed attempt, whose job the next attempt adopts.
    for owner in pod["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return {name: owner[name] for name in ("apiVersion", "kind", "name", "uid")}
    return {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}


def _step_image(pod: Mapping[str, Any]) -> str:
    # The pod also has Argo's containers. The step's is called "main".
    containers = pod["spec"]["containers"]
    return str(next((each for each in containers if each["name"] == "main"), containers[0])["image"])
