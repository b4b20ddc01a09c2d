"""``vicur evaluate``: one model on the held-out splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import CacheOption, ConfigOption, DatasetOption, SetOption, configuration, run_stage


def evaluate(
    model: Annotated[str, typer.Argument(help="Folder of a student or base model, or 'tiny'.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the evaluation.", show_default=False)],
    dataset: DatasetOption = Path("data"),
    config: ConfigOption = None,
    overrides: SetOption = None,
    cache: CacheOption = True,
) -> None:
    """Evaluate one model, base or student, on the held-out splits.

    Writes metrics.json and predictions.parquet, one row a question.

    [bold]Examples[/bold]

      vicur evaluate tiny --output evaluations/base

      vicur evaluate students/vicur --output evaluations/vicur --set evaluation.max_examples=200
    """
    from vicur.config.base import BaseModelConfig

    settings = configuration(config, overrides)
    inputs = {"dataset": dataset, "model": BaseModelConfig(path=model).folder}
    subject = Path(model).name
    run_stage("evaluate", settings.evaluation, inputs, output, settings, subject=subject, cache=cache)
