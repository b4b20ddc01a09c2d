"""Apply an overlay, wait for its services and create MLflow's user."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from vicur.cluster.install.kubectl import Kubectl, KubectlError
from vicur.cluster.install.manifests import PARTS, Kustomizations, Part
from vicur.cluster.install.mlflow_user import create_user
from vicur.cluster.install.preparation import Prepared, changes, parse_changes, prepare, queue_warning
from vicur.cluster.install.secret_values import NewSecret
from vicur.cluster.install.waiting import wait_until_ready

_MARKS = {"created": "+", "configured": "~", "replaced": "±", "unchanged": "="}


@dataclass(frozen=True)
class Installation:
    """An overlay to install.

    Attributes:
        given: secrets from files.
        minutes: time limit of waiting.
    """

    kustomizations: Kustomizations
    given: dict[str, NewSecret]
    minutes: float


def install(kubectl: Kubectl, installation: Installation, console: Console, *, dry_run: bool) -> Prepared:
    """Install an overlay, or show what would be applied. A second installation changes nothing.

    Returns:
        What was found in the cluster before.

    Raises:
        VicurError: if a prerequisite is missing, kubectl fails, or a service is not ready in time. The installation can be repeated.
    """
    kubectl.require_version()
    prepared = prepare(kubectl, installation.kustomizations, installation.given)
    for part in PARTS:
        if part in installation.kustomizations.folders:
            _line(console, f"{part}: {installation.kustomizations.folders[part]}")
    _line(console, f"namespace: {prepared.namespace}")
    if dry_run:
        _show(kubectl, prepared, console)
        return prepared
    _apply(kubectl, prepared, "namespaces", console)
    for secret in prepared.new_secrets:
        _create(kubectl, secret, prepared.namespace, console)
    # Before the overlay, whose pods mount the claims and read the secrets.
    _apply(kubectl, prepared, "storage", console)
    for job in prepared.stale_jobs:
        kubectl.run("delete", job.lower(), "-n", prepared.namespace, "--ignore-not-found")
        _line(console, f"{job} deleted: it has failed or differs, and a job cannot be changed")
    _apply(kubectl, prepared, "overlays", console)
    overlay = prepared.objects["overlays"]
    wait_until_ready(kubectl, overlay, prepared.namespace, installation.minutes * 60, console)
    _line(console, create_user(kubectl, prepared.namespace, prepared.services))
    if warning := queue_warning(kubectl, overlay, prepared.namespace):
        console.print(f"Warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    return prepared


def _create(kubectl: Kubectl, secret: NewSecret, namespace: str, console: Console) -> None:
    try:
        kubectl.create(secret.manifest(namespace))
    except KubectlError as error:
        # Someone else created it in the meantime. Theirs counts.
        if "AlreadyExists" not in error.problem:
            raise
        _line(console, f"= secret/{secret.name}: exists")
    else:
        _line(console, f"+ secret/{secret.name}: {secret.origin}")


def _apply(kubectl: Kubectl, prepared: Prepared, part: Part, console: Console) -> None:
    if part not in prepared.kustomizations.folders:
        return
    with prepared.kustomizations.folder(part) as folder:
        found = parse_changes(kubectl.run("apply", "-k", str(folder)))
    _report(console, part, found)


def _show(kubectl: Kubectl, prepared: Prepared, console: Console) -> None:
    """Print what an installation would change."""
    for part in PARTS:
        if part in prepared.kustomizations.folders:
            _report(console, part, changes(kubectl, prepared, part))
    for secret in prepared.new_secrets:
        _line(console, f"+ secret/{secret.name}: {secret.origin}")
    for name in prepared.kept_secrets:
        _line(console, f"= secret/{name}: exists")
    _line(console, "Nothing was changed.")


def _report(console: Console, part: Part, found: list[tuple[str, str]]) -> None:
    unchanged = sum(change == "unchanged" for _, change in found)
    for name, change in found:
        if change != "unchanged":
            _line(console, f"{_MARKS[change]} {name}")
    if unchanged:
        _line(console, f"= {unchanged} objects of {part} are unchanged")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
