"""MLflow: its server answers, knows us and our host name, and is of a release that the client understands."""

from __future__ import annotations

import os
import urllib.request
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from vicur.cluster.preflight.finding import Finding
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.tracking.mlflow import public_address, sqlite_file, tracking_uri

OLDEST = (3, 5)
"""Oldest release of a server that is known to have what is used of it."""
_SECONDS = 10


def tracking(config: TrackingConfig) -> Finding:
    """Whether runs can be tracked where the configuration says. A store of the project's own is not created by looking.

    Raises:
        VicurError: where the server does not answer or refuses, or the store cannot be opened.
    """
    from vicur.tracking.mlflow import connect

    address, file = public_address(config), sqlite_file(tracking_uri(config))
    if file is not None and not file.exists():
        return _to_be_created(file, address)
    try:
        connect(config)
    except VicurError as error:
        if "Invalid Host header" not in error.problem:
            raise
        return Finding(
            "failed", f"MLflow at {address} does not know this host name (403)", allowed_hosts_remedy(address)
        )
    if file is not None:
        return Finding("ok", f"the store of this project, {address}")
    release = server_release(tracking_uri(config))
    return judged(address, release)


def _to_be_created(file: Path, address: str) -> Finding:
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if find_spec("sqlalchemy") is None:
        return Finding("failed", f"{address} needs packages that are not installed", "Install 'vicur[local]'.")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding("failed", f"{address} cannot be created in {folder}", "Name another place (tracking.uri).")
    return Finding("ok", f"the store of this project, {address}, which the first run creates")


def shared_tracking(config: TrackingConfig) -> Finding:
    """Whether pods can reach what the configuration names: a file on this machine they cannot."""
    if sqlite_file(tracking_uri(config)) is None:
        return Finding("ok", f"a server, {public_address(config)}")
    return Finding(
        "failed",
        f"runs are tracked in a file of this machine ({public_address(config)}), which pods do not see",
        "Set tracking.uri or MLFLOW_TRACKING_URI to an MLflow server.",
    )


def judged(address: str, release: str | None) -> Finding:
    """A finding on a server's release."""
    if release is None:
        return Finding(
            "warning",
            f"{address} answers, but tells no release at /version, as MLflow does",
            "Make sure that it is an MLflow server; behind a proxy, let /version through.",
        )
    parts = release.split(".")
    known = tuple(int(part) for part in parts[:2]) if all(part.isdigit() for part in parts[:2]) else OLDEST
    if known < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return Finding(
            "failed", f"MLflow {release} at {address} is too old", f"Upgrade the server to {wanted} or later."
        )
    return Finding("ok", f"MLflow {release} at {address}")


def allowed_hosts_remedy(address: str) -> str:
    """What to add to the server's allowed hosts: it compares exactly, port included, and a list of one's own replaces its defaults."""
    host = urlsplit(address).hostname or address
    return f"Add '{host},{host}:*' to the server's --allowed-hosts; the list replaces the defaults, so keep 'localhost,localhost:*' in it."


def server_release(uri: str) -> str | None:
    """The release that a server tells without a password; ``None`` where it does not."""
    parts = urlsplit(uri)
    clean = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/version"
    try:
        with urllib.request.urlopen(clean, timeout=_SECONDS) as answer:  # noqa: S310 (the address is http or https by now)
            text = answer.read(64).decode(errors="replace").strip()
    except (OSError, ValueError, HTTPException):
        return None
    return text if text[:1].isdigit() else None
