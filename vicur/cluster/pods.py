"""Where a step runs: in a pod or not, and in which namespace."""

from __future__ import annotations

import os
from pathlib import Path

from vicur.errors import VicurError

RUN_LABEL = "pipeline/runid"  # set by Kubeflow Pipelines
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


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
