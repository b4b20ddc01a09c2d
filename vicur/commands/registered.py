"""``vicur registry``: what belongs to a registered model besides its champion."""

from __future__ import annotations

import typer

from vicur.commands.common import Commands, ConfigOption, SetOption, configuration, examples, help_with_examples
from vicur.commands.registry import ModelOption
from vicur.errors import VicurError

app = Commands(
    help=help_with_examples("Look after registered models.", "vicur registry sync"),
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Keep ``sync`` a subcommand: Typer would otherwise make the only command of a group the group itself."""


@app.command()
@examples(
    "vicur registry sync --set registry.kubeflow.url=http://localhost:8080",
    "vicur registry sync --config run.yaml --model vicur-tiny",
)
def sync(model: ModelOption = None, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Bring the Kubeflow Model Registry in line with MLflow.

    The registration, promote and rollback do the same. Use it after someone moved an alias in MLflow's UI, or to list older versions.
    """
    settings = configuration(config, overrides)
    url = settings.registry.kubeflow.url
    if url is None:
        raise VicurError(
            "is not set.",
            where="registry.kubeflow.url",
            remedy="Set it to the address of the registry: --set registry.kubeflow.url=http://localhost:8080.",
        )
    from vicur.registry.kubeflow import list_in_kubeflow
    from vicur.tracking.mlflow import connect

    name = model or settings.registry.model
    changed = list_in_kubeflow(settings.registry.kubeflow, connect(settings.tracking), name)
    typer.echo(f"{name}: {changed} versions changed in the Kubeflow Model Registry at {url}.")
