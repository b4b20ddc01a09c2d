"""``vicur models``: stage base weights where every step can read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import Commands, examples, help_with_examples

app = Commands(
    help=help_with_examples(
        "Stage base weights and check them.",
        "vicur models stage s3://models/Qwen3-VL-2B-Instruct --into /models",
        "vicur models check /models/Qwen3-VL-2B-Instruct",
    ),
    no_args_is_help=True,
)


@app.command()
@examples(
    "vicur models stage Qwen/Qwen3-VL-2B-Instruct --revision COMMIT --into /models",
    "vicur models stage Qwen/Qwen3-VL-2B-Instruct --revision COMMIT --into s3://models",
    "vicur models stage s3://models/Qwen3-VL-2B-Instruct --into /models",
)
def stage(
    source: Annotated[str, typer.Argument(help="owner/name on the Hub, s3://bucket/prefix, or a folder.")],
    into: Annotated[str, typer.Option("--into", help="Folder or S3 address below which to put the model.")],
    revision: Annotated[
        str | None, typer.Option("--revision", help="Commit hash (40 hex digits) of a repository on the Hub.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model's folder; by default the source's name.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace another model of that name.")] = False,
) -> None:
    """Fetch base weights once, so that every step can read them from there.

    Files are fetched next to their final path, verified by checksum, and renamed. If the model is there already, nothing is done. From
    the Hub, the safetensors, configuration and tokenizer of one commit are fetched, with the token in HF_TOKEN if the model requires
    one. If the Hub cannot be reached from here, stage the model to S3 or to a folder elsewhere, and from there to here.
    """
    from vicur import weights

    installed = weights.install(weights.model_source(source, revision), into, name, replace=replace)
    size = sum(file.bytes for file in installed.record.files.values())
    done = "Staged" if installed.fetched else "Already staged and intact:"
    typer.echo(f"{done} {installed.place} ({len(installed.record.files)} files, {size / 2**30:.2f} GiB)")


@app.command()
@examples(
    "vicur models check /models/Qwen3-VL-2B-Instruct",
)
def check(folder: Annotated[Path, typer.Argument(help="A staged model.")]) -> None:
    """Verify a staged model by reading every byte of it."""
    from vicur import weights

    record = weights.check(folder)
    revision = f" at {record.revision}" if record.revision else ""
    typer.echo(f"Intact: {record.origin}{revision} ({len(record.files)} files)")
