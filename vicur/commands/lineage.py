"""``vicur lineage``: where a registered version comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration, examples


@examples("vicur lineage vicur-tiny@champion", "vicur lineage vicur-tiny/3 --json")
def lineage(
    version: Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the chain as JSON.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Print the chain from a registered version back to its data.

    Its verdict and the moves of the alias, the runs that registered and trained it, the settings of the training and the software that ran
    it, its base, teacher and cues, the dataset with its DVC hash, and the address of the source. What the version does not record is
    printed as unknown, which is much for versions of releases before 0.2.
    """
    settings = configuration(config, overrides)
    from vicur.registry.address import version_at
    from vicur.registry.chain import chain_of, lines_of
    from vicur.registry.provenance import provenance_of
    from vicur.tracking.mlflow import as_default, connect, mlflow_errors

    client = connect(settings.tracking)
    with mlflow_errors(client.tracking_uri), as_default(client):
        found = version_at(client, version)
        chain = chain_of(client, found, provenance_of(client, found))
    typer.echo(chain.model_dump_json(indent=1) if as_json else "\n".join(lines_of(chain)))
