"""``vicur registry``: what belongs to a registered model besides its champion."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vicur.commands.common import Commands, ConfigOption, SetOption, configuration, examples, help_with_examples
from vicur.commands.registry import ModelOption
from vicur.errors import VicurError

app = Commands(
    help=help_with_examples("Look after registered models.", "vicur registry audit", "vicur registry sync"),
    no_args_is_help=True,
)


@app.command()
@examples("vicur registry audit", "vicur registry audit --model vicur-production --json")
def audit(
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Look for aliases that were set by hand, verdicts that do not match, and missing files.

    Compares the aliases with the recorded moves, tags and verdicts with the stored evaluation of each version, and lists the files of its
    model. Changes nothing. The exit status is 1 if anything is found.
    """
    settings = configuration(config, overrides)
    from vicur.registry.audit import audit as findings_of
    from vicur.tracking.mlflow import as_default, connect, mlflow_errors

    client, name = connect(settings.tracking), model or settings.registry.model
    with mlflow_errors(client.tracking_uri), as_default(client):
        findings = findings_of(client, name)
    if as_json:
        typer.echo(json.dumps([each.model_dump() for each in findings], indent=1, ensure_ascii=False))
    else:
        for each in findings:
            typer.echo(str(each))
        typer.echo(f"{name}: {len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}.")
    if findings:
        raise typer.Exit(1)


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
    versions = "1 version" if changed == 1 else f"{changed} versions"
    typer.echo(f"{name}: {versions} changed in the Kubeflow Model Registry at {url}.")
