"""``vicur data``: build, check, pin and look at the dataset."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vicur.commands.common import (
    CacheOption,
    Commands,
    ConfigOption,
    SetOption,
    configuration,
    examples,
    help_with_examples,
    run_stage,
)

if TYPE_CHECKING:
    from vicur.data import Example

app = Commands(
    help=help_with_examples(
        "Build, check, pin and show the dataset.", "vicur data prepare --output data", "vicur data verify data"
    ),
    no_args_is_help=True,
)

DEFAULT = Path("data")
FolderArgument = Annotated[Path, typer.Argument(help="Dataset folder.")]
PinOption = Annotated[Path, typer.Option("--pin", help="DVC file to write the dataset's hash to.")]


@app.command()
@examples(
    "vicur data prepare",
    "vicur data prepare --output data --set data=folder --set data.path=my-questions",
)
def prepare(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the dataset.")] = DEFAULT,
    config: ConfigOption = None,
    overrides: SetOption = None,
    cache: CacheOption = True,
) -> None:
    """Build the dataset: render the embedded digit scenes, or import your own folder.

    Your folder contains examples.jsonl (or examples.parquet) and the images that it names. Rows that cannot be used are skipped
    and listed, up to a limit.
    """
    from vicur.data import store_if_pinned

    settings = configuration(config, overrides)
    run_stage("prepare", settings.data, {}, output, settings, cache=cache)
    dvc_file = output.with_name(f"{output.name}.dvc")
    if dvc_file.exists():
        matches = store_if_pinned(output, dvc_file)
        typer.echo(f"It {'matches' if matches else 'does not match'} the hash in {dvc_file}")


@app.command()
@examples(
    "vicur data verify",
    "vicur data verify data --pin data.dvc",
)
def verify(
    folder: FolderArgument = DEFAULT,
    pin: Annotated[Path | None, typer.Option("--pin", help="DVC file whose hash the dataset must match.")] = None,
) -> None:
    """Verify every byte of a dataset: checksums, rows, unique ids, and that every image decodes."""
    from vicur.data import check_pin
    from vicur.data import verify as verify_dataset

    verified = verify_dataset(folder)
    if pin is not None:
        check_pin(folder, pin)
    counts = ", ".join(f"{split} {count}" for split, count in verified.examples.items())
    typer.echo(f"{folder} is intact: {counts}, hash {verified.dataset_hash}")


@app.command()
@examples(
    "vicur data pin",
    "vicur data pin datasets/geometry --pin geometry.dvc",
)
def pin(folder: FolderArgument = DEFAULT, dvc_file: PinOption = Path("data.dvc")) -> None:
    """Write the current hash of the dataset to a DVC file."""
    from vicur.data import pin as pin_dataset

    typer.echo(f"{dvc_file}: {pin_dataset(folder, dvc_file).md5}")


@app.command()
@examples(
    "vicur data show",
    "vicur data show data --split distill -n 5 --images /tmp/images",
)
def show(
    folder: FolderArgument = DEFAULT,
    split: Annotated[str, typer.Option("--split", help="Split to show examples from.")] = "test",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of examples.")] = 3,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder to write the images of these examples to.", show_default=False),
    ] = None,
) -> None:
    """Show the size of each split of a dataset, and the first examples of one."""
    from vicur.data import read_manifest
    from vicur.data.stored import StoredSplit

    for name, number in read_manifest(folder).examples.items():
        typer.echo(f"{name:12} {number:6} examples")
    for example in StoredSplit(folder, split)[:count]:
        typer.echo("")
        _show(example, images)


def _show(example: Example, images: Path | None) -> None:
    fields = {
        "id": example.id,
        "question": example.question,
        "choices": " | ".join(example.choices),
        "answer": example.answer,
        "cue": example.cue,
        "rationale": example.rationale,
        "images": ", ".join(_write_images(example, images)) if images else str(len(example.images)),
    }
    for name, value in fields.items():
        if value:
            typer.echo(f"{name:12} {value}")


def _file_name(identifier: str) -> str:
    # An id may contain characters that file names cannot. A hash keeps the names of such ids apart.
    name = re.sub(r"[^\w.-]", "_", identifier)[:80]
    return name if name == identifier else f"{name}-{hashlib.sha256(identifier.encode()).hexdigest()[:8]}"


def _write_images(example: Example, folder: Path) -> list[str]:
    from vicur.storage.folders import new_file

    paths = []
    for number, image in enumerate(example.images):
        ending = "png" if image.startswith(b"\x89PNG") else "jpg"
        path = folder / f"{_file_name(example.id)}-{number}.{ending}"
        with new_file(path) as file:
            file.write_bytes(image)
        paths.append(str(path))
    return paths
