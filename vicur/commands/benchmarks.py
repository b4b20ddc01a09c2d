"""``vicur benchmarks``: the paper's seven benchmarks, from their files to scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import Commands, examples, help_with_examples
from vicur.errors import VicurError

app = Commands(
    help=help_with_examples(
        "Stage, answer and score the paper's benchmarks.",
        "vicur benchmarks list",
        "vicur benchmarks stage mathvista wemath --from downloads --output benchmarks",
    ),
    no_args_is_help=True,
)


@app.command("list")
@examples("vicur benchmarks list")
def list_benchmarks() -> None:
    """List the benchmarks, with their files and metrics."""
    from vicur.evaluation.benchmarks.registry import BENCHMARKS

    for each in BENCHMARKS.values():
        rows = f"{each.rows:,} questions" if each.rows else "your own questions"
        typer.echo(f"{each.name:10} {each.title}: {rows}, {each.metric}")
        typer.echo(f"{'':10} {each.file}{f', MD5 {each.md5}' if each.md5 else ' of a prepared dataset'}")


@app.command()
@examples(
    "vicur benchmarks stage mathvista --from downloads --output benchmarks",
    "vicur benchmarks stage mathverse wemath mmmu dynamath --from s3://team/benchmarks --output benchmarks",
    "vicur benchmarks stage videomme --from Video-MME --output benchmarks",
    "vicur benchmarks stage vision-r1 --from data --output benchmarks",
)
def stage(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Benchmarks.", show_default=False)],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="Folder or s3:// address of the files, or of folders named as the benchmarks.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder in which each dataset is a folder.", show_default=False)
    ],
    md5: Annotated[str, typer.Option("--md5", help="MD5 of another version of a benchmark's file.")] = "",
) -> None:
    """Turn benchmarks' own files into datasets with the harness's prompts.

    Files are recognised by their MD5 and never downloaded. Video-MME needs its videos in the folder video. The private test split of
    Vision-R1 is replaced by the test split of a prepared dataset of your own. The hash that is printed identifies the dataset.
    """
    from vicur.commands.common import refuse_to_replace
    from vicur.commands.console_events import ConsoleEvents
    from vicur.evaluation.benchmarks.registry import benchmark
    from vicur.evaluation.benchmarks.sources import own_files
    from vicur.evaluation.benchmarks.staging import stage as stage_benchmark
    from vicur.stage.table import STAGES

    wanted = [benchmark(name) for name in dict.fromkeys(names)]
    if md5 and len(wanted) > 1:
        raise VicurError("is the hash of one file.", where=f"--md5 {md5}", remedy="Stage one benchmark at a time.")
    for each in wanted:
        folder = output / each.name
        refuse_to_replace(folder, STAGES["prepare"].outputs, {})
        with ConsoleEvents(f"stage {each.name}") as events, own_files(each, source, folder, events) as files:
            staged = stage_benchmark(
                each,
                files,
                folder,
                md5=md5.lower(),
                on_row=lambda done, each=each, events=events: events.progress(done, each.rows or done, "questions"),  # type: ignore[misc]
            )
        note = "" if staged.is_official or not each.md5 else ", not the file that the paper's harness uses"
        typer.echo(f"{each.title}: {staged.rows:,} questions, {staged.images:,} images{note}")
        typer.echo(f"Written to {folder}, hash {staged.dataset_hash}")
