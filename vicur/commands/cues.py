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

app = Commands(
    help=help_with_examples(
        "Extract and audit visual cues.", "vicur cues extract --dataset data --output cues", "vicur cues extract --help"
    ),
    no_args_is_help=True,
)


@app.command()
@examples(
    "vicur cues extract",
    "vicur cues extract --dataset data --output cues --set cues.provider=annotation",
)
def extract(
    dataset: DatasetOption = Path("data"),
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the cues and their audit.")] = Path("cues"),
    config: ConfigOption = None,
    overrides: SetOption = None,
    cache: CacheOption = True,
) -> None:
    """Extract a visual cue for each example and audit all cues.

    Writes cues.parquet, audit.json and samples.html, a page that shows examples with their cues.
    """
    settings = configuration(config, overrides)
    run_stage("extract", settings.cues, {"dataset": dataset}, output, settings, cache=cache)
