"""``vicur compare``: compare students with their base model."""

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
    examples,
    run_stage,
)
from vicur.errors import VicurError


@examples(
    "vicur compare --base evaluations/base --student vicur=evaluations/vicur,students/vicur -o comparison",
    "vicur compare --base evaluations/base --student opsd=evaluations/opsd --student vicur=evaluations/vicur -o comparison",
)
def compare(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.", show_default=False)],
    base: Annotated[Path, typer.Option("--base", help="Evaluation of the base model.", show_default=False)],
    student: Annotated[
        list[str],
        typer.Option(
            "--student",
            metavar="METHOD=EVALUATION[,STUDENT]",
            help="Evaluation of a student and, for its training curves, the student's folder. Repeat for each student.",
            show_default=False,
        ),
    ],
    dataset: DatasetOption = Path("data"),
    cues: CuesOption = Path("cues"),
    config: ConfigOption = None,
    overrides: SetOption = None,
    cache: CacheOption = True,
) -> None:
    """Compare students with their base model and write the report.

    Writes comparison.json and report.html, a page without external files.
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
            "the option must have the form METHOD=EVALUATION or METHOD=EVALUATION,STUDENT.",
            where=f"--student {text}",
            remedy="Write, for example, --student vicur=evaluations/vicur,students/vicur.",
        )
    inputs = {method: Path(evaluation)}
    # The report finds a student's training curves under this name.
    return {**inputs, f"{method}.student": Path(folder)} if folder else inputs
