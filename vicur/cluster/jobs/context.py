"""Where jobs are made, and what the step that makes them is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicur.cluster.jobs.api import Api
from vicur.cluster.jobs.client import connect
from vicur.errors import VicurError


@dataclass(frozen=True)
class JobContext:
    """Where jobs are made.

    Attributes:
        api: the cluster and the namespace.
        image: container image of the nodes.
        owner: reference to what jobs are removed with; none where that is unknown.
    """

    api: Api
    image: str
    owner: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, image: str) -> JobContext:
        """The site of this process: its own namespace, or that of the kubeconfig's context.

        Args:
            image: container image of the nodes; empty for the one that this process runs in.

        Raises:
            VicurError: where there is no cluster, or no image for the nodes.
        """
        client, here = connect()
        api = Api(client, here.namespace)
        pod = api.pod(here.pod) if here.pod else None
        image = image or (_step_image(pod) if pod else "")
        if not image:
            raise VicurError(
                "the nodes' image is not known outside a cluster.",
                where="cluster.image",
                remedy="Name the container image.",
            )
        return cls(api, image, _owner_reference(pod) if pod else None)


def _owner_reference(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Reference to what a step's job is removed with: the workflow that a pod is a step of, else the pod itself.

    A workflow outlives the attempts of its steps, so that a retry finds the job of an attempt that was killed.
    """
    for owner in pod["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return {name: owner[name] for name in ("apiVersion", "kind", "name", "uid")}
    return {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}


def _step_image(pod: Mapping[str, Any]) -> str:
    """Image of the step's container; the platform's own containers stand beside it."""
    containers = pod["spec"]["containers"]
    return str(next((each for each in containers if each["name"] == "main"), containers[0])["image"])
