"""The way to a cluster's API server, and what this process is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vicur.cluster.pods import in_cluster, own_namespace
from vicur.cluster.preflight.link import Link

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


@dataclass(frozen=True)
class Place:
    """Where this process stands.

    Attributes:
        namespace: its namespace, or that of the kubeconfig's context.
        pod: name of its own pod; none outside a cluster.
    """

    namespace: str
    pod: str | None = None


def connect() -> tuple[ApiClient, Place]:
    """A client with the service account's rights in a cluster, with the kubeconfig's outside of one.

    Raises:
        VicurError: where the client is not installed, or there is no cluster to be found.
    """
    client = Link().api()
    if in_cluster():
        return client, Place(own_namespace(), own_pod(os.environ))
    from kubernetes import config

    _, current = config.list_kube_config_contexts(os.environ.get("KUBECONFIG") or None)
    return client, Place(current["context"].get("namespace", "default"))


def own_pod(environment: Mapping[str, str]) -> str | None:
    """Name of the pod that has this environment. Kubeflow Pipelines tells it; a host's name may be cut short."""
    return environment.get("KFP_POD_NAME") or environment.get("HOSTNAME")
