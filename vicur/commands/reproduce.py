"""``vicur reproduce``: make a registered version again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vicur.commands.common import ConfigOption, configuration, examples
from vicur.errors import VicurError

if TYPE_CHECKING:
    from vicur.registry.reproduction import Comparison

_SHOWN = 12  # digits of a hash


@examples(
    "vicur reproduce vicur-tiny/3 --output reproduced",
    "vicur reproduce vicur-tiny@champion --output reproduced --set data.path=/mnt/photos",
    "vicur reproduce --check reproduced",
)
def reproduce(
    version: Annotated[
        str | None, typer.Argument(help="NAME/VERSION or NAME@ALIAS of a registered version.", show_default=False)
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for configuration, script and expected hashes.")
    ] = Path("reproduced"),
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", help="Folder in which the script has run, to compare with the version.", show_default=False
        ),
    ] = None,
    config: ConfigOption = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.FIELD=VALUE",
            help="Setting of the version's run that is not recorded, or is another one here. Repeatable.",
        ),
    ] = None,
) -> None:
    """Write what makes a registered version again: the configuration of its run, and a script that trains its student.

    The script prepares the dataset, extracts the cues, trains, and compares the result with the version. The same code, packages and
    processor give a student with the same bytes; what differs here is named. The script does not touch the registry. The MLflow
    server is that of --config or of --set tracking.uri=..., as for the other commands.
    """
    if (version is None) == (check is None):
        raise VicurError(
            "needs either a version or --check.",
            where="vicur reproduce",
            remedy="Write NAME/VERSION, or --check FOLDER.",
        )
    if check is not None:
        _check(check)
        return
    from vicur.registry.address import version_at
    from vicur.registry.provenance import provenance_of
    from vicur.registry.reproduction import SCRIPT, recipe_of
    from vicur.stage.code_version import code_version
    from vicur.tracking.mlflow import as_default, connect, mlflow_errors

    # The server is this user's, everything else is the version's.
    ours = [each for each in overrides or () if each.startswith("tracking.")]
    client = connect(configuration(config, ours).tracking)
    with mlflow_errors(client.tracking_uri), as_default(client):
        found = version_at(client, str(version))
        provenance = provenance_of(client, found)
    recipe = recipe_of(
        found, provenance, code_version("vicur.training.train"), [each for each in overrides or () if each not in ours]
    )
    recipe.write(output)
    for warning in recipe.warnings:
        typer.echo(f"Note: {warning}", err=True)
    typer.echo(f"Written to {output}. To make {found} again:\n\n    sh {output / SCRIPT}")


def _check(folder: Path) -> None:
    from vicur.registry.reproduction import compare

    expected, results = compare(folder)
    for each in results:
        typer.echo(f"{each.name:8} {_verdict(each)}")
    wrong = [each for each in results if not each.same]
    if wrong:
        typer.echo(f"This is not {expected.version}. The first difference is in the {wrong[0].name}.")
        raise typer.Exit(1)
    typer.echo(f"This is {expected.version}, bit for bit.")


def _verdict(each: Comparison) -> str:
    if each.same:
        return f"same       {each.actual[:_SHOWN]}"
    return f"different  {each.actual[:_SHOWN] or 'missing'}, expected {each.expected[:_SHOWN]}"
