"""What only the steps of a run in a cluster can see: volumes, services of the cluster, and the addresses in their environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from vicur.cluster.connection import NoClusterError
from vicur.cluster.preflight.check import Finding, Target
from vicur.errors import VicurError

S3_ENDPOINT = "AWS_ENDPOINT_URL_S3"
_CHECKED_LATER = "The run's first step checks it."


def is_elsewhere(target: Target) -> bool:
    """Return whether the run will be in a cluster and this process is not."""
    return target.place == "laptop" and target.for_cluster


def unless_mounted_in_steps(target: Target, folder: str, finding: Finding) -> Finding:
    """Replace a failed finding about a folder by a warning if the run's steps may have the folder on a volume."""
    if not is_elsewhere(target) or finding.status != "failed" or not folder.startswith("/") or Path(folder).exists():
        return finding
    return Finding(
        "warning",
        f"{folder} does not exist on this machine, and it cannot be checked from here whether the steps have it mounted",
        f"{_CHECKED_LATER} {finding.remedy}",
    )


def unless_only_in_cluster(target: Target, address: str, check: Callable[[], Finding]) -> Finding:
    """Check a server, or warn if its name is known only inside the cluster: to the steps, but not to this machine."""
    try:
        host = urlsplit(address).hostname
    except ValueError:
        host = None
    if not is_elsewhere(target) or not host or _resolves(host):
        return check()
    return Finding(
        "warning",
        f"{address} cannot be checked from here: this machine does not know the host {host}, but steps in the cluster may",
        f"{_CHECKED_LATER} To check it from here, forward its port and give that address.",
    )


def unless_in_a_store_of_the_cluster(target: Target, address: str, check: Callable[[], Finding]) -> Finding:
    """Check an S3 address, or warn if steps use a store that this machine has no address of."""
    configured = os.environ.get(S3_ENDPOINT) or os.environ.get("AWS_ENDPOINT_URL")
    if not is_elsewhere(target) or not address.startswith("s3://") or configured:
        return check()
    inside = variable_of_steps(target, S3_ENDPOINT)
    if not inside:
        return check()
    return Finding(
        "warning",
        f"{address} cannot be checked from here: steps reach the store at {inside}, from the ConfigMap {target.needs.endpoints}",
        f"{_CHECKED_LATER} To check it from here, forward its port and set {S3_ENDPOINT} and its credentials.",
    )


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return True


def variable_of_steps(target: Target, name: str) -> str:
    """Return the value that a variable of the steps has from their ConfigMap, or an empty string if it cannot be read."""
    try:
        return variables_of_steps(target).get(name, "")
    except VicurError:
        return ""


class UnreadableError(VicurError):
    """This account may not read the ConfigMap with the addresses that steps use."""

    def __init__(self, name: str, namespace: str) -> None:
        super().__init__(
            f"this account may not read the ConfigMap {name} of the namespace {namespace}, from which steps have the address of MLflow",
            where="cluster.endpoints",
            remedy=_CHECKED_LATER,
        )


def variables_of_steps(target: Target) -> dict[str, str]:
    """Return the content of the ConfigMap with the addresses that steps use.

    Raises:
        VicurError: if it does not exist; ``UnreadableError`` without the right to read it, ``NoClusterError`` without a cluster.
    """
    from kubernetes.client import ApiException, CoreV1Api

    name, namespace = target.needs.endpoints, target.needs.namespace
    if not name:
        return {}
    connection = target.connection
    try:
        found = connection.call(CoreV1Api(connection.api()).read_namespaced_config_map, name, namespace)
    except NoClusterError:
        raise
    except ApiException as error:
        if error.status == 403:
            raise UnreadableError(name, namespace) from error
        problem = "does not exist" if error.status == 404 else f"cannot be read (HTTP {error.status})"
        raise VicurError(
            f"the ConfigMap {name} {problem} in the namespace {namespace}. Steps read the address of MLflow from it.",
            where="cluster.endpoints",
            remedy="Install it (k8s/base/endpoints.yaml), correct cluster.namespace or cluster.endpoints, or set tracking.uri.",
        ) from error
    return {key: str(value).strip() for key, value in (found.data or {}).items()}
