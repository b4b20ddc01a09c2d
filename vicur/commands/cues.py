"""``vicur cues``: extract visual cues for a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import (
    CacheOption,
    Commands,
    ConfigOption,
    DatasetOption,
    SetOption,
    configuration,
    examples,
    help_with_examples,
    run_stage,
)
from vicur.commands.cue_audit import audit
from vicur.commands.portions import PortionOption, PortionsArgument, merge_portions, run_portion

OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for the cues and their audit.")]

app = Commands(
    help=help_with_examples(
        "Extract and audit visual cues.",
        "vicur cues extract --dataset data --output cues",
        "vicur cues audit cues --dataset data",
        "vicur cues extract --help",
    ),
    no_args_is_help=True,
)


@app.command()
@examples(
    "vicur cues extract",
    "vicur cues extract --dataset data --output cues --set cues.provider=annotation",
    "vicur cues extract --portion 2/8 --output portions/2",
)
def extract(
    dataset: DatasetOption = Path("data"),
    output: OutputOption = Path("cues"),
    config: ConfigOption = None,
    overrides: SetOption = None,
    portion: PortionOption = None,
    cache: CacheOption = True,
) -> None:
    """Extract a visual cue for each example and audit all cues.

    Writes cues.parquet, audit.json and samples.html, a page that shows examples with their cues.

    Several machines can share the work: each makes the cues of one portion, and vicur cues merge audits those of all.
    """
    settings = configuration(config, overrides)
    if portion is not None:
        run_portion("extract", portion, settings.cues, {"dataset": dataset}, output, settings, cache=cache)
        return
    run_stage("extract", settings.cues, {"dataset": dataset}, output, settings, cache=cache)


app.command()(audit)


@app.command()
@examples("vicur cues merge portions/* --dataset data --output cues")
def merge(
    portions: PortionsArgument,
    dataset: DatasetOption = Path("data"),
    output: OutputOption = Path("cues"),
    config: ConfigOption = None,
    overrides: SetOption = None,
    cache: CacheOption = True,
) -> None:
    """Merge and audit the cues of all portions, with the files that vicur cues extract gives.

    Takes the settings with which the portions were made, except that limits of the audit may differ.
    """
    settings = configuration(config, overrides)
    merge_portions("extract", portions, settings.cues, {"dataset": dataset}, output, settings, cache=cache)
