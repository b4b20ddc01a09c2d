"""``vicur models``: stage base weights where every step reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import Commands, help_with_examples

app = Commands(
    help=help_with_examples(
        "Stage base weights and check them.",
        "vicur models stage s3://models/Qwen3-VL-2B-Instruct --into /models",
        "vicur models check /models/Qwen3-VL-2B-Instruct",
    ),
    no_args_is_help=True,
)


@app.command()
def stage(
    source: Annotated[str, typer.Argument(help="owner/name on the Hub, s3://bucket/prefix, or a folder.")],
    into: Annotated[str, typer.Option("--into", help="Folder or address on S3 below which the model is put.")],
    revision: Annotated[
        str | None, typer.Option("--revision", help="Commit hash (40 hex digits) of a repository on the Hub.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model's folder; by default the source's.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace another model of that name.")] = False,
) -> None:
    """Fetch base weights once, so that every step reads them from there.

    They are fetched beside their place, checked by their checksums, and renamed into place; where they are there already, nothing is
    done. From the Hub, one commit's safetensors, configuration and tokenizer are taken, with the token in HF_TOKEN if the model asks
    for one. Where the Hub cannot be reached, stage to S3 or a folder elsewhere, and from there here.

    [bold]Examples[/bold]

      vicur models stage Qwen/Qwen3-VL-2B-Instruct --revision COMMIT --into /models

      vicur models stage Qwen/Qwen3-VL-2B-Instruct --revision COMMIT --into s3://models

      vicur models stage s3://models/Qwen3-VL-2B-Instruct --into /models
    """
    from vicur import weights

    staged = weights.stage(weights.source_of(source, revision), into, name, replace=replace)
    size = sum(file.bytes for file in staged.record.files.values())
    done = "Staged" if staged.fetched else "Already there, and whole:"
    typer.echo(f"{done} {staged.place} ({len(staged.record.files)} files, {size / 2**30:.2f} GiB)")


@app.command()
def check(folder: Annotated[Path, typer.Argument(help="A staged model.")]) -> None:
    """Check a staged model to the last byte.

    [bold]Examples[/bold]

      vicur models check /models/Qwen3-VL-2B-Instruct
    """
    from vicur import weights

    record = weights.check(folder)
    at = f" at {record.revision}" if record.revision else ""
    typer.echo(f"Whole: {record.origin}{at} ({len(record.files)} files)")
