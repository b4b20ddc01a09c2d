"""Connect to the cluster's API, and find out in which namespace and pod this process runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.pods import in_cluster, own_namespace

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


@dataclass(frozen=True)
class Location:
    """Namespace and pod of this process. Outside a cluster: the namespace of the kubeconfig's context, and no pod."""

    namespace: str
    pod: str | None = None


def connect() -> tuple[ApiClient, Location]:
    """Return a client with the service account's rights in a cluster, or with the kubeconfig's rights outside of one."""
    client = ClusterConnection().api()
    if in_cluster():
        return client, Location(own_namespace(), own_pod(os.environ))
    from kubernetes import config

    _, current = config.list_kube_config_contexts(os.environ.get("KUBECONFIG") or None)
    return client, Location(current["context"].get("namespace", "default"))


def own_pod(environment: Mapping[str, str]) -> str | None:
    """Return the name of the pod with this environment."""
    # A host name is the pod's name cut to 63 characters, so the variable set by Kubeflow Pipelines is preferred.
    return environment.get("KFP_POD_NAME") or environment.get("HOSTNAME")
