"""``vicur models``: stage models where every step can read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import Commands, examples, help_with_examples

app = Commands(
    help=help_with_examples(
        "Stage models and check them.",
        "vicur models pin hf://Qwen/Qwen3-VL-2B-Instruct",
        "vicur models stage s3://models/Qwen3-VL-2B-Instruct --into /models",
        "vicur models check /models/Qwen3-VL-2B-Instruct",
    ),
    no_args_is_help=True,
)


@app.command()
@examples(
    "vicur models stage hf://Qwen/Qwen3-VL-2B-Instruct@COMMIT",
    "vicur models stage hf://Qwen/Qwen3-VL-2B-Instruct@COMMIT --into s3://models",
    "vicur models stage s3://models/Qwen3-VL-2B-Instruct --into /models",
)
def stage(
    source: Annotated[str, typer.Argument(help="hf://owner/name@COMMIT, s3://bucket/prefix, or a folder.")],
    into: Annotated[
        str | None,
        typer.Option(
            "--into",
            help="Folder or S3 address below which to put the model. Default: where runs look for the source's address.",
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Commit hash (40 hex digits) of an owner/name on the Hub.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model's folder; by default the source's name.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace another model of that name.")] = False,
) -> None:
    """Fetch a model once, so that every step can read it from there.

    Runs do this themselves for models that they name by an address. Use the command to stage a model beforehand, or where the Hub can be
    reached for where it cannot. Files are fetched next to their final path, verified by checksum, and renamed. If the model is there
    already, nothing is done. Of a commit on the Hub, only the safetensors, configuration and tokenizer are fetched, with the token in
    HF_TOKEN if the model requires one.
    """
    from vicur import weights
    from vicur.commands.console_events import ConsoleEvents
    from vicur.config.model_address import models_folder

    where = weights.pinned_path(source) if into is None and source.startswith("s3://") else source
    found = weights.model_source(where, revision)
    name = name or weights.folder_name(where)
    with ConsoleEvents("models") as events:
        installed = weights.install(found, into or str(models_folder()), name, replace=replace, events=events)
    record = installed.record
    done = "Staged" if installed.fetched else "Already staged and intact:"
    typer.echo(f"{done} {installed.place} ({len(record.files)} files, {record.bytes / 2**30:.2f} GiB)")
    if installed.skipped:
        typer.echo(f"Skipped, because they are not needed or can run code: {', '.join(installed.skipped)}")


@app.command()
@examples(
    "vicur models pin hf://Qwen/Qwen3-VL-2B-Instruct",
    "vicur models pin s3://models/Qwen3-VL-2B-Instruct",
)
def pin(
    address: Annotated[str, typer.Argument(help="hf://owner/name, perhaps with @BRANCH, or s3://bucket/prefix.")],
) -> None:
    """Print the address of a model with the commit or checksum of its current content.

    Runs require the commit of a model on the Hub. Of a model on S3 they look up the checksum at their start.
    """
    from vicur import weights

    typer.echo(weights.newest(address))


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
