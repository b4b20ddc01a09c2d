"""The way to a cluster's API server, and what this process is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.errors import VicurError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


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
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise VicurError(
            "needs the Kubernetes client, which is not installed.", where="cluster", remedy="Install vicur[pipeline]."
        ) from error
    settings = client.Configuration()
    # How often and how long a request is tried again is decided in one place (vicur.cluster.api).
    settings.retries = False
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=settings)
            place = Place(_NAMESPACE.read_text(encoding="utf-8").strip(), _own_pod(os.environ))
        else:
            # The client itself reads the variable when it is imported, and never again.
            file = os.environ.get("KUBECONFIG")
            config.load_kube_config(file, client_configuration=settings)
            context = config.list_kube_config_contexts(file)[1]["context"]
            place = Place(context.get("namespace", "default"))
    except (config.ConfigException, OSError) as error:
        raise VicurError(
            f"there is no cluster to be found ({error}).",
            where="cluster",
            remedy="Run it as a step of a pipeline, or give a kubeconfig (KUBECONFIG).",
        ) from error
    return client.ApiClient(settings), place


def _own_pod(environment: Mapping[str, str]) -> str | None:
    """Name of the pod that has this environment. Kubeflow Pipelines tells it; a host's name may be cut short."""
    return environment.get("KFP_POD_NAME") or environment.get("HOSTNAME")
