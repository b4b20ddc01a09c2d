"""The pods of a run, as the cluster tells them to a step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vicur.errors import VicurError

RUN_LABEL = "pipeline/runid"
"""Kubeflow Pipelines' label on the pods of a run."""
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_SECONDS = 20


def in_cluster() -> bool:
    """Whether this process runs in a pod that can reach the API."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def own_namespace() -> str:
    """The namespace of this process's pod.

    Raises:
        VicurError: where the pod has no account's token, and with it no word of its namespace.
    """
    try:
        return _NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise VicurError(
            f"the pod's namespace cannot be read ({error.strerror}).",
            where=str(_NAMESPACE),
            remedy="Let pods have their account's token (automountServiceAccountToken of k8s/base/access).",
        ) from error


def pods_of_run(run_id: str) -> list[dict[str, Any]]:
    """The pods of a run in this step's own namespace, as JSON.

    Raises:
        VicurError: where the API does not answer or refuses.
    """
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        config.load_incluster_config()
        with client.ApiClient() as api:
            found = client.CoreV1Api(api).list_namespaced_pod(
                own_namespace(),
                label_selector=f"{RUN_LABEL}={run_id}",
                _request_timeout=_SECONDS,
            )
            return [dict(api.sanitize_for_serialization(pod)) for pod in found.items]
    except (ApiException, HTTPError, OSError, config.ConfigException) as error:
        raise VicurError(
            f"the run's pods cannot be listed ({getattr(error, 'reason', None) or error}).",
            remedy="Give the steps' service account the Role of k8s/base/access: it may list pods of its namespace.",
        ) from error
