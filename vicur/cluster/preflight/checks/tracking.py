"""MLflow: the server responds, accepts the user and our host name, and its release is supported."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from vicur.cluster.connection import NoClusterError
from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.elsewhere import UnreadableError, unless_only_in_cluster, variables_of_steps
from vicur.cluster.preflight.registry import check
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.tracking.mlflow import public_address, sqlite_file, tracking_uri

OLDEST = (3, 5)
"""Oldest supported release of an MLflow server."""
_SECONDS = 10
_RUN = "MLFLOW_RUN_ID"
_URI = "MLFLOW_TRACKING_URI"


@check("tracking", topic="services", scope="laptop")
def _tracking(target: Target) -> Finding:
    address = public_address(target.tracking)
    return unless_only_in_cluster(target, address, lambda: tracking(target.tracking))


@check("tracking for all", topic="services")
def _shared_tracking(target: Target) -> Finding:
    finding = shared_tracking(target.tracking)
    if finding.status == "ok" or target.place == "step" or not target.needs.endpoints:
        return finding
    try:
        address = variables_of_steps(target).get(_URI)
    except NoClusterError:
        return finding
    except UnreadableError as error:
        return Finding("warning", error.problem, error.remedy)
    if not address:
        return Finding(
            "failed",
            f"the ConfigMap {target.needs.endpoints} of the namespace {target.needs.namespace} does not set {_URI}, nor does tracking.uri",
            f"Set {_URI} in the ConfigMap to the address of an MLflow server, or tracking.uri.",
        )
    return Finding(
        "ok",
        f"steps use {redacted(address)}, from the ConfigMap {target.needs.endpoints}; the run's first step checks it",
    )


@check("MLflow run", topic="services", places=("step",), when=lambda _: bool(os.environ.get(_RUN)))
def _writable_run(target: Target) -> Finding:
    return writable_run(target.tracking)


def writable_run(config: TrackingConfig) -> Finding:
    """Check that this account may write to the run that the platform started for this step, as it did for the others."""
    from mlflow.entities import RunTag

    from vicur.tracking.mlflow import connect, mlflow_errors

    client, run = connect(config), os.environ[_RUN]
    try:
        with mlflow_errors(public_address(config)):
            # What the stages call. Another user than the run's may be refused only here.
            client.log_batch(run, tags=[RunTag("vicur.preflight", "ok")])
    except VicurError as error:
        if error.retryable:
            raise
        raise VicurError(
            f"the run {run}, which Kubeflow Pipelines started, cannot be written: {error.problem}",
            where=public_address(config),
            remedy="Let the steps be the user of KFP's MLflow plugin (give the secrets vicur-mlflow and kfp-mlflow-credentials the same "
            "user and password), or set injectUserEnvVars of the plugin to false.",
        ) from error
    return Finding("ok", f"the run {run}, which Kubeflow Pipelines started, can be written")


def tracking(config: TrackingConfig) -> Finding:
    """Check that runs can be tracked at the configured place. An embedded store that does not exist is not created."""
    from vicur.tracking.mlflow import connect

    address, file = public_address(config), sqlite_file(tracking_uri(config))
    if file is not None and not file.exists():
        return _can_be_created(file, address)
    try:
        connect(config)
    except VicurError as error:
        # MLflow sends this text without an error code of its API.
        if "Invalid Host header" not in error.problem:
            raise
        return Finding(
            "failed", f"MLflow at {address} does not allow this host name (HTTP 403)", allowed_hosts_remedy(address)
        )
    if file is not None:
        return Finding("ok", f"embedded store, {address}")
    return check_release(address, server_release(tracking_uri(config)))


def _can_be_created(file: Path, address: str) -> Finding:
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if find_spec("sqlalchemy") is None:
        return Finding(
            "failed", f"{address} requires packages that are not installed (sqlalchemy)", "Install 'vicur[local]'."
        )
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding(
            "failed",
            f"{address} cannot be created, because {folder} is not writable",
            "Set tracking.uri to another path.",
        )
    return Finding("ok", f"embedded store, {address}, which the first run creates")


def shared_tracking(config: TrackingConfig) -> Finding:
    """Check that pods can reach the configured MLflow."""
    if sqlite_file(tracking_uri(config)) is None:
        return Finding("ok", f"a server, {public_address(config)}")
    return Finding(
        "failed",
        f"runs are tracked in a file on this machine ({public_address(config)}), which pods cannot read",
        "Set tracking.uri or MLFLOW_TRACKING_URI to an MLflow server.",
    )


def check_release(address: str, release: str | None) -> Finding:
    """Check a server's release; ``None`` if the server does not report one."""
    if release is None:
        return Finding(
            "warning",
            f"{address} responds, but not with a release at /version, as MLflow does",
            "Make sure that it is an MLflow server. If it is behind a proxy, allow /version there.",
        )
    parts = release.split(".")
    # A release that cannot be parsed (a development build) counts as supported.
    known = tuple(int(part) for part in parts[:2]) if all(part.isdigit() for part in parts[:2]) else OLDEST
    if known < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return Finding(
            "failed",
            f"MLflow {release} at {address} is not supported",
            f"Upgrade the server to MLflow {oldest} or later.",
        )
    return Finding("ok", f"MLflow {release} at {address}")


def allowed_hosts_remedy(address: str) -> str:
    """Return what to add to the server's allowed hosts."""
    host = urlsplit(address).hostname or address
    # MLflow compares the Host header literally, with the port if there is one.
    return (
        f"Add '{host},{host}:*' to the server's --allowed-hosts. "
        "The list replaces MLflow's defaults, so keep 'localhost,localhost:*' in it."
    )


def server_release(uri: str) -> str | None:
    """Return the release that a server reports at ``/version``, or ``None``. With basic auth, it answers only its users."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    parts = urlsplit(uri)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    try:
        # MLflow's own request has its credentials and certificates. They are not sent to another host that it is redirected to.
        response = http_request(get_default_host_creds(address), "/version", "GET", max_retries=0, timeout=_SECONDS)
    except (MlflowException, OSError, ValueError):
        return None
    text = response.text[:64].strip() if response.ok else ""
    return text if text[:1].isdigit() else None
