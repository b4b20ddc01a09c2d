"""``vicur register``: register a student as a version of the registered model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import ConfigOption, CuesOption, DatasetOption, SetOption, configuration, examples, run_stage


@examples(
    "vicur register --student students/vicur --evaluation evaluations/vicur --base-evaluation evaluations/base "
    "--comparison comparison --output registration",
)
def register(
    student: Annotated[Path, typer.Option("--student", help="Folder of the student to register.", show_default=False)],
    evaluation: Annotated[Path, typer.Option("--evaluation", help="Evaluation of the student.", show_default=False)],
    base_evaluation: Annotated[
        Path, typer.Option("--base-evaluation", help="Evaluation of the base model.", show_default=False)
    ],
    comparison: Annotated[
        Path, typer.Option("--comparison", help="Output folder of 'vicur compare'.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the record of the registration.", show_default=False)
    ],
    dataset: DatasetOption = Path("data"),
    cues: CuesOption = Path("cues"),
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Register a student in MLflow and decide whether it becomes the champion.

    The new version gets the alias candidate and, if it passes the gate, the alias champion. Registering the same student again reuses its
    version.
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
    # Without --cache, because a cached result would not register anything.
    run_stage("register", settings.registry, inputs, output, settings)
