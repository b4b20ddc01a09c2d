"""``vicur register``: a student becomes a version of the registered model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import ConfigOption, CuesOption, DatasetOption, SetOption, configuration, run_stage


def register(
    student: Annotated[Path, typer.Option("--student", help="Student to register.", show_default=False)],
    evaluation: Annotated[Path, typer.Option("--evaluation", help="Its evaluation.", show_default=False)],
    base_evaluation: Annotated[
        Path, typer.Option("--base-evaluation", help="Evaluation of the base model.", show_default=False)
    ],
    comparison: Annotated[
        Path, typer.Option("--comparison", help="Folder that 'vicur compare' wrote.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the registration's record.", show_default=False)
    ],
    dataset: DatasetOption = Path("data"),
    cues: CuesOption = Path("cues"),
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Register a student with MLflow, and put it through the gate.

    It becomes candidate; if the gate passes, champion. Registering the same student again finds its version.

    [bold]Examples[/bold]

      vicur register --student students/vicur --evaluation evaluations/vicur \\
        --base-evaluation evaluations/base --comparison comparison -o registration
    """
    settings = configuration(config, overrides)
    inputs = {
        "dataset": dataset,
        "cues": cues,
        "student": student,
        "evaluation": evaluation,
        "base_evaluation": base_evaluation,
        "comparison": comparison,
    }
    run_stage("register", settings.registry, inputs, output, settings)
