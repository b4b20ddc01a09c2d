"""``vicur data``: build, check, pin and look at the dataset."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vicur.commands import data_inspect
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
from vicur.commands.portions import PortionOption, PortionsArgument, merge_portions, run_portion

if TYPE_CHECKING:
    from vicur.config.run import RunConfig
    from vicur.data import Example

app = Commands(
    help=help_with_examples(
        "Build, check, pin and show the dataset.",
        "vicur data inspect my-photos",
        "vicur data prepare --set data=./my-photos",
        "vicur data verify data",
    ),
    no_args_is_help=True,
)

app.command("inspect")(data_inspect.inspect)

DEFAULT = Path("data")
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for the dataset.")]
FolderArgument = Annotated[Path, typer.Argument(help="Dataset folder.")]
PinOption = Annotated[Path, typer.Option("--pin", help="DVC file to write the dataset's hash to.")]


@app.command()
@examples(
    "vicur data prepare",
    "vicur data prepare --set data=./my-photos",
    "vicur data prepare --output data --set data=s3://team/geometry",
    "vicur data prepare --portion 2/8 --output portions/2 --set data=./my-photos",
)
def prepare(
    output: OutputOption = DEFAULT,
    config: ConfigOption = None,
    overrides: SetOption = None,
    portion: PortionOption = None,
    cache: CacheOption = True,
) -> None:
    """Build the dataset: render the embedded digit scenes, or import your own data.

    These are a folder, an address on S3 or a dataset on the Hugging Face Hub, in one of the formats of docs/formats.md; vicur data inspect
    shows how they would be read. Rows that cannot be used are skipped and listed, up to a limit. If 'base.path' is set and its tokenizer is
    on this machine, it is then checked that this model can read the training examples.

    Several machines can share the work: each reads one portion, and vicur data merge makes the dataset of all.
    """
    settings = configuration(config, overrides)
    if portion is not None:
        run_portion("prepare", portion, settings.data, {}, output, settings, cache=cache)
        return
    run_stage("prepare", settings.data, {}, output, settings, cache=cache)
    _compare_with_pin(output)
    _check_base(settings, output)


@app.command()
@examples("vicur data merge portions/* --output data --set data=./my-photos")
def merge(
    portions: PortionsArgument,
    output: OutputOption = DEFAULT,
    config: ConfigOption = None,
    overrides: SetOption = None,
    cache: CacheOption = True,
) -> None:
    """Build the dataset of all portions of a source, with the bytes that vicur data prepare gives.

    Takes the settings with which the portions were read. The portions are not changed.
    """
    settings = configuration(config, overrides)
    merge_portions("prepare", portions, settings.data, {}, output, settings, cache=cache)
    _compare_with_pin(output)
    _check_base(settings, output)


def _compare_with_pin(output: Path) -> None:
    from vicur.data import store_if_pinned

    dvc_file = output.with_name(f"{output.name}.dvc")
    if dvc_file.exists():
        matches = store_if_pinned(output, dvc_file)
        typer.echo(f"It {'matches' if matches else 'does not match'} the hash in {dvc_file}")


def _check_base(settings: RunConfig, dataset: Path) -> None:
    # The dataset does not depend on the base, so this is no part of the step.
    if "base" in settings.model_fields_set and settings.cues.reader is not None:
        from vicur.cues.reader_check import check_reader

        check_reader(settings.cues.reader, dataset)


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
    "vicur data fetch 8989d69a6347b61ebc199a636e165293.dir@s3://team/dvc",
    "vicur data fetch s3://team/my-questions --output my-questions",
    "vicur data fetch my-questions.dvc --output my-questions",
)
def fetch(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="HASH@REMOTE (DVC's hash of a folder, and a remote on S3 or in a folder), s3://BUCKET/FOLDER, or a .dvc file.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = DEFAULT,
) -> None:
    """Fetch a dataset by its hash or address, and verify every byte. Needs neither DVC nor git.

    If it is interrupted, the same command resumes at the byte where it stopped. A folder with other content is never overwritten.
    """
    from vicur.commands.console_events import ConsoleEvents
    from vicur.data.download import download

    with ConsoleEvents("fetch") as events:
        got = download(reference, output, events)
    files = f"{got.files:,} file{'' if got.files == 1 else 's'}, {got.size / 1e6:,.1f} MB, hash {got.dataset_hash}"
    typer.echo(f"{got.folder} {'is there already, with' if got.was_there else 'has'} {files}")
    if not got.is_prepared:
        typer.echo(f"It is a source: vicur data prepare --set data=folder --set data.path={got.folder}")


@app.command()
@examples("vicur data profile", "vicur data profile my-dataset --output my-dataset.html")
def profile(
    folder: FolderArgument = DEFAULT,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path("profile.html"),
) -> None:
    """Write a page about a prepared dataset: counts, answers, sizes, duplicates, samples and skipped rows.

    Prepare logs the same page to MLflow.
    """
    from vicur.data.profile import profile_of, render_profile
    from vicur.storage.folders import new_file

    html = render_profile(profile_of(folder), folder.resolve().name)
    with new_file(output) as file:
        file.write_text(html, encoding="utf-8")
    typer.echo(f"Written to {output}")


@app.command()
@examples(
    "vicur data export data --to verl --output verl --cues runs/latest/extract",
    "vicur data export data --to hf --output my-dataset",
    "vicur data export data --to webdataset --output tars --split distill --split test",
)
def export(
    folder: FolderArgument = DEFAULT,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="LAYOUT", help="verl, hf (Hugging Face), webdataset or jsonl.", show_default=False
        ),
    ] = ...,  # type: ignore[assignment]
    output: Annotated[
        Path, typer.Option("--output", "-o", help="New or empty folder for the export.", show_default=False)
    ] = ...,  # type: ignore[assignment]
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Split to export. Repeatable. Default: all.", show_default=False)
    ] = None,
    cues: Annotated[
        Path | None,
        typer.Option(
            "--cues", help="Output of 'vicur cues extract', whose cues replace the dataset's.", show_default=False
        ),
    ] = None,
) -> None:
    """Write a prepared dataset in the layout of another library.

    verl's columns feed the published code of on-policy distillation, with cues in extra_info. 'vicur data prepare' reads each of these
    layouts again, with the same examples. The same dataset gives the same bytes.
    """
    from vicur.commands.console_events import ConsoleEvents
    from vicur.cues.store import CUES_FILE, read_cues
    from vicur.data.exporting import export as export_dataset

    is_table = cues is not None and cues.name == CUES_FILE
    found = None if cues is None else read_cues(cues.parent if is_table else cues)
    with ConsoleEvents("export") as events:
        done = export_dataset(folder, to, output, events, splits=split or (), cues=found)
    counts = ", ".join(f"{name} {count:,}" for name, count in done.examples.items())
    typer.echo(f"{output} has {sum(done.examples.values()):,} examples ({counts}), {done.cues:,} with a cue")


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
        "images": ", ".join(_write_images(example, images)) if images else _images(example),
    }
    for name, value in fields.items():
        if value:
            typer.echo(f"{name:12} {value}")


def _images(example: Example) -> str:
    video = example.video
    if video is None:
        return str(len(example.images))
    return f"video of {len(example.images)} frames, {video.timestamps[-1]:.1f} seconds"


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
