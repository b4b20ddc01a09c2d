"""``vicur evaluate``: evaluate a model on the held-out splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import (
    CacheOption,
    ConfigOption,
    DatasetOption,
    SetOption,
    configuration,
    examples,
    run_stage,
)


@examples(
    "vicur evaluate tiny --output evaluations/base",
    "vicur evaluate students/vicur --output evaluations/vicur --set evaluation.max_examples=200",
)
def evaluate(
    model: Annotated[
        str,
        typer.Argument(help="Folder of a student or base model, or 'tiny'.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the evaluation.", show_default=False)],
    dataset: DatasetOption = Path("data"),
    config: ConfigOption = None,
    overrides: SetOption = None,
    cache: CacheOption = True,
) -> None:
    """Evaluate a base model or a student on the held-out splits.

    Writes metrics.json and predictions.parquet with one row per question.
    """
    from vicur.config.base import BaseModelConfig
    from vicur.config.sources import Sources
    from vicur.config.validation import validated
    from vicur.weights import staged

    settings = configuration(config, overrides)
    # The model may be any folder, or an address as in the section `base`.
    named: BaseModelConfig = validated(BaseModelConfig, {"path": model}, Sources("MODEL", options={"path": "MODEL"}))
    inputs = {"dataset": dataset, "model": staged(named.path)}
    subject = Path(model).name
    run_stage("evaluate", settings.evaluation, inputs, output, settings, subject=subject, cache=cache)
