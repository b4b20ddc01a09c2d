"""``vicur install``: install an overlay of ``k8s/`` on a cluster, or remove it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vicur.commands.common import examples
from vicur.errors import VicurError

if TYPE_CHECKING:
    from rich.console import Console

    from vicur.cluster.install import Kubectl, Kustomizations


class Overlay(StrEnum):
    """Overlays that ``vicur install`` installs."""

    DEV = "dev"
    GPU_POOL = "gpu-pool"
    MULTI_USER = "multi-user"


@examples(
    "vicur install dev --dry-run",
    "vicur install gpu-pool --secret vicur-s3=s3.env --context team-cluster",
    "vicur install multi-user --namespace team-b --secret vicur-s3=team-b.env",
    "vicur install gpu-pool --manifests my-k8s --timeout 30",
    "vicur install gpu-pool --uninstall",
)
def install(
    overlay: Annotated[Overlay, typer.Argument(help="Overlay of k8s/overlays.", show_default=False)],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be created, changed or deleted, and change nothing.")
    ] = False,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            metavar="NAME=FILE",
            help="Create a secret from a file with lines KEY=VALUE, unless it exists. Repeatable.",
        ),
    ] = None,
    manifests: Annotated[
        Path | None,
        typer.Option(
            "--manifests",
            help="Folder with overlays/, storage/ and namespaces/. What it lacks comes with vicur. Default: ./k8s, else vicur's own.",
        ),
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the profile (multi-user). Default: the overlay's.")
    ] = "",
    context: Annotated[
        str, typer.Option("--context", help="Context of the kubeconfig. Default: the current one.")
    ] = "",
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.01, metavar="MINUTES", help="Time limit of waiting for the services.")
    ] = 15.0,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Remove the overlay. Claims, secrets and the namespace are kept.")
    ] = False,
    delete_data: Annotated[
        bool,
        typer.Option(
            "--delete-data", help="With --uninstall: also delete MLflow's database, staged weights and secrets."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting data.")] = False,
) -> None:
    """Install the services and permissions that runs need in a namespace, and check them.

    Creates the namespace and the missing secrets, applies the overlay with kubectl, waits until its services are ready, creates MLflow's
    user and checks the cluster. A repeated installation changes nothing. Existing secrets are never changed, and no secret is printed.
    docs/kubernetes.md describes the same steps by hand.

    Exit status: 0 if everything is ready, 1 if a service is not ready or a check fails, 2 for invalid input or missing prerequisites.
    """
    from rich.console import Console

    from vicur.cluster.install import Installation, Kubectl
    from vicur.cluster.install import install as apply
    from vicur.cluster.install.secret_values import read_files

    if delete_data and not uninstall:
        raise VicurError("deletes nothing without --uninstall.", where="--delete-data", remedy="Add --uninstall.")
    given = read_files(secret or [])
    kubectl, console = Kubectl(context), Console()
    kustomizations = _kustomizations(kubectl, overlay, manifests, namespace)
    if uninstall:
        _remove(kubectl, kustomizations, console, delete_data=delete_data, dry_run=dry_run, yes=yes)
        return
    prepared = apply(kubectl, Installation(kustomizations, given, timeout), console, dry_run=dry_run)
    if dry_run:
        return
    from vicur.cluster.install.checks import check_cluster

    if not check_cluster(prepared.objects["overlays"], prepared.namespace, context, console):
        raise typer.Exit(1)


def _kustomizations(kubectl: Kubectl, overlay: Overlay, manifests: Path | None, namespace: str) -> Kustomizations:
    from vicur.cluster.install import Kustomizations, find_manifests
    from vicur.cluster.install.manifests import namespace_of

    found = Kustomizations.find(overlay.value, manifests or find_manifests())
    if not namespace or namespace == (own := namespace_of(found.render(kubectl, "overlays"), found)):
        return found
    if overlay is not Overlay.MULTI_USER:
        raise VicurError(
            f"the overlay {overlay.value} is made for the namespace {own}, which its addresses contain.",
            where=f"--namespace {namespace}",
            remedy="Leave the option out, or make an overlay of your own with another namespace and pass its folder with --manifests.",
        )
    return Kustomizations(found.overlay, found.folders, namespace)


def _remove(
    kubectl: Kubectl, kustomizations: Kustomizations, console: Console, *, delete_data: bool, dry_run: bool, yes: bool
) -> None:
    from vicur.cluster.install import Removal
    from vicur.cluster.install.manifests import title

    kubectl.require_version()
    removal = Removal.of(kubectl, kustomizations)
    lines = [f"- {title(each)}" for each in removal.objects]
    lines += [f"{'-' if delete_data else '='} {each}{'' if delete_data else ': kept'}" for each in removal.data]
    typer.echo("\n".join(lines) or f"Nothing is installed in the namespace {removal.namespace}.")
    if dry_run:
        typer.echo("Nothing was changed.")
        return
    if delete_data and removal.data and not yes:
        typer.confirm(f"Delete all of these from the namespace {removal.namespace}, including the data?", abort=True)
    with console.status("Deleting"):
        removal.delete_objects(kubectl)
        if delete_data:
            removal.delete_data(kubectl)
    typer.echo("Uninstalled. Objects in S3 and runs of Kubeflow Pipelines were not touched.")
