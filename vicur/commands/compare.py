"""``vicur compare``: base against students, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import (
    CacheOption,
    ConfigOption,
    CuesOption,
    DatasetOption,
    SetOption,
    configuration,
    run_stage,
)
from vicur.errors import VicurError


def compare(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.", show_default=False)],
    base: Annotated[Path, typer.Option("--base", help="Evaluation of the base model.", show_default=False)],
    student: Annotated[
        list[str],
        typer.Option(
            "--student",
            metavar="METHOD=EVALUATION[,STUDENT]",
            help="A student's evaluation, and its folder for the training curves; once a student.",
            show_default=False,
        ),
    ],
    dataset: DatasetOption = Path("data"),
    cues: CuesOption = Path("cues"),
    config: ConfigOption = None,
    overrides: SetOption = None,
    cache: CacheOption = True,
) -> None:
    """Compare students with their base, and write the report.

    Writes comparison.json and report.html, one page that needs nothing else.

    [bold]Examples[/bold]

      vicur compare --base evaluations/base --student vicur=evaluations/vicur,students/vicur -o comparison

      vicur compare --base evaluations/base --student opsd=evaluations/opsd --student vicur=evaluations/vicur -o comparison
    """
    settings = configuration(config, overrides)
    inputs = {"dataset": dataset, "cues": cues, "base": base}
    for text in student:
        inputs |= _student(text)
    run_stage("compare", settings.comparison, inputs, output, settings, cache=cache)


def _student(text: str) -> dict[str, Path]:
    method, _, folders = text.partition("=")
    evaluation, _, folder = folders.partition(",")
    if not method or not evaluation:
        raise VicurError(
            "names no student.",
            where=f"--student {text}",
            remedy="Write METHOD=EVALUATION or METHOD=EVALUATION,STUDENT.",
        )
    inputs = {method: Path(evaluation)}
    return {**inputs, f"{method}.student": Path(folder)} if folder else inputs
