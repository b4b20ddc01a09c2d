"""Access to the pods of a run from one of its steps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vicur.errors import VicurError

RUN_LABEL = "pipeline/runid"  # set by Kubeflow Pipelines
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_SECONDS = 20


def in_cluster() -> bool:
    """Return whether this process runs in a pod of a cluster."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def own_namespace() -> str:
    """Return the namespace of this pod, or raise :class:`VicurError` if it is not mounted."""
    # It is mounted with the token of the pod's account.
    try:
        return _NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise VicurError(
            f"the namespace of this pod cannot be read: {error.strerror}.",
            where=str(_NAMESPACE),
            remedy="Mount the token of the service account into pods (automountServiceAccountToken in k8s/base/access).",
        ) from error


def pods_of_run(run_id: str) -> list[dict[str, Any]]:
    """Return the pods of a run in this namespace as JSON, or raise :class:`VicurError` if the API does not answer or refuses."""
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        config.load_incluster_config()
        with client.ApiClient() as api:
            listed = client.CoreV1Api(api).list_namespaced_pod(
                own_namespace(),
                label_selector=f"{RUN_LABEL}={run_id}",
                _request_timeout=_SECONDS,
            )
            return [dict(api.sanitize_for_serialization(pod)) for pod in listed.items]
    except (ApiException, HTTPError, OSError, config.ConfigException) as error:
        raise VicurError(
            f"the pods of the run cannot be listed: {getattr(error, 'reason', None) or error}.",
            remedy="Bind the Role of k8s/base/access to the service account of the steps: it allows listing pods of the namespace.",
        ) from error
