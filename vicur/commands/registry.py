"""``vicur promote`` and ``vicur rollback``: change the champion of a registered model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration, examples
from vicur.errors import VicurError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from vicur.config.registry import KubeflowRegistryConfig
    from vicur.registry.promotion import Move

ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Registered model. Default: registry.model of the configuration.", show_default=False),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Reason for the change, which is stored with the version.")]


@examples(
    "vicur promote candidate",
    'vicur promote 3 --model vicur-tiny --force --reason "needed for the demonstration"',
    'vicur promote champion --model vicur-staging --to vicur-production --reason "release 4"',
    "vicur promote champion --model vicur-tiny --to-uri https://mlflow.production.example",
)
def promote(
    version: Annotated[str, typer.Argument(help="Version number or alias, such as candidate.", show_default=False)],
    model: ModelOption = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="Registered model to copy the version to, whose champion it becomes.", show_default=False
        ),
    ] = None,
    to_uri: Annotated[
        str | None,
        typer.Option(
            "--to-uri",
            help="MLflow server to copy the version to, or sqlite:///FILE. Its credentials: VICUR_TO_USERNAME and VICUR_TO_PASSWORD, "
            "or VICUR_TO_TOKEN.",
            show_default=False,
        ),
    ] = None,
    reason: ReasonOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote a version that did not pass the gate. Requires --reason.")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Make a version of a registered model the champion.

    The gate is applied again to what was measured, and to the answers of the present champion if that is another one than at the
    registration. With --to, the version is copied to another registered model of the server, such as from staging to production: the files
    are not moved, provenance and verdict stay with it, and the gate compares it with the champion there. A repeated command finds the copy.

    With --to-uri, it becomes the champion on another server, in the model of the same name or that of --to. All its files, provenance,
    verdict and evaluation are copied. A repeated command continues an interrupted copy.
    """
    settings = configuration(config, overrides)
    # After the configuration, so that a typo is reported without waiting for MLflow's import.
    from vicur.registry.promotion import promote as move
    from vicur.tracking.mlflow import connect

    into = None if to is None else registered_model(to, "--to")
    other = None if to_uri is None else _address(to_uri)
    client, name = connect(settings.tracking), model or settings.registry.model
    if other is not None:
        from vicur.registry.elsewhere import other_server, promote_elsewhere, server_of

        here, there = server_of(client), other_server(other)
        if there.client.tracking_uri != client.tracking_uri:
            experiment = settings.tracking.experiment
            move_there = promote_elsewhere(
                here, name, version, there, into=into or name, experiment=experiment, reason=reason, force=force
            )
            typer.echo(f"{other}, ", nl=False)
            _report(move_there)
            return
    _report(move(client, name, version, reason=reason, force=force, to=into))
    _list(settings.registry.kubeflow, client, into or name)


def _address(uri: str) -> str:
    from vicur.redaction import redacted

    # A command line is visible to other users and in the shell's history.
    if redacted(uri) != uri:
        raise VicurError(
            "must not contain a password or a token.",
            where="--to-uri",
            remedy="Set VICUR_TO_USERNAME and VICUR_TO_PASSWORD, or VICUR_TO_TOKEN.",
        )
    return uri.rstrip("/") if uri.startswith("http") else uri


def registered_model(name: str, option: str) -> str:
    """Return the name of a registered model that was given with an option, or raise an error if MLflow could not address it."""
    from vicur.config.registry import RegistryConfig
    from vicur.config.sources import Sources
    from vicur.config.validation import validated

    section: RegistryConfig = validated(RegistryConfig, {"model": name}, Sources(option, options={"model": option}))
    return section.model


@examples(
    'vicur rollback --reason "answers in the wrong language"',
    "vicur rollback --model vicur-tiny",
)
def rollback(
    model: ModelOption = None, reason: ReasonOption = "", config: ConfigOption = None, overrides: SetOption = None
) -> None:
    """Restore the previous champion of a registered model."""
    settings = configuration(config, overrides)
    from vicur.registry.promotion import rollback as move
    from vicur.tracking.mlflow import connect

    client, name = connect(settings.tracking), model or settings.registry.model
    _report(move(client, name, reason=reason))
    _list(settings.registry.kubeflow, client, name)


def _list(config: KubeflowRegistryConfig, client: MlflowClient, name: str) -> None:
    from vicur.registry.kubeflow import list_in_kubeflow

    list_in_kubeflow(config, client, name)


def _report(move: Move) -> None:
    before = f" (previously version {move.before})" if move.before and move.before != move.champion else ""
    typer.echo(f"{move.model}: version {move.champion} is the champion{before}. {move.reason}")
