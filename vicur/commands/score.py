"""``vicur score``: answer a prepared dataset with one model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration, examples

if TYPE_CHECKING:
    from vicur.config.run import RunConfig

_CACHE = Path(".vicur/served")


@examples(
    "vicur score models:/vicur-tiny@champion data --output predictions.parquet",
    "vicur score models:/vicur-2b/3 data --split test --split ood --output predictions.parquet",
    "vicur score students/vicur data --output out.parquet --set evaluation.batch_size=32 --set evaluation.decoding.type=paper",
)
def score(
    model: Annotated[
        str,
        typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, or a checkpoint folder.", show_default=False),
    ],
    dataset: Annotated[Path, typer.Argument(help="Folder of a prepared dataset.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Parquet file for the predictions.", show_default=False)
    ],
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Split to score. Repeatable. Default: all of the dataset.")
    ] = None,
    cache: Annotated[Path, typer.Option("--cache", help="Folder that caches downloaded checkpoints.")] = _CACHE,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Answer every question of a dataset with a registered version or a checkpoint.

    Writes one row per question with the columns of an evaluation's predictions.parquet, in the order of the dataset. The prompts are
    those of the student's training, and images have the sizes of the version's evaluation. Decoding, batch size and device are settings
    of the section evaluation. If a run is interrupted, the same command continues it.
    """
    from vicur.commands.console_events import ConsoleEvents
    from vicur.evaluation.score import score as score_dataset
    from vicur.wording import percent

    settings = configuration(config, overrides)
    folder, adjusted = _model(model, cache, settings)
    with ConsoleEvents("score") as events:
        counts = score_dataset(
            folder,
            dataset,
            split or (),
            output,
            adjusted.evaluation,
            seed=settings.seed,
            on_progress=events.progress,
        )
    kept = f" ({counts.resumed:,} of an interrupted run)" if counts.resumed else ""
    skipped = f", {counts.unanswered:,} not asked because their prompt is too long" if counts.unanswered else ""
    typer.echo(f"{counts.rows:,} rows{kept}, {percent(counts.correct / counts.rows)} correct{skipped}")
    typer.echo(f"Written to {output}")


def _model(model: str, cache: Path, settings: RunConfig) -> tuple[Path, RunConfig]:
    """Return the checkpoint, and the settings with the prompts that it was trained with."""
    from vicur.config.prompts import PixelBudgets
    from vicur.prompts.record import RECORD, prompts_of
    from vicur.weights import staged

    prompts = settings.evaluation.prompts
    if model.startswith("models:"):
        from vicur.registry.checkpoints import fetch
        from vicur.registry.pixel_budget import budget_of
        from vicur.tracking.mlflow import connect

        checkpoint = fetch(connect(settings.tracking), model, cache.absolute())
        typer.echo(f"{checkpoint.version}: checkpoint matches the registered checksum", err=True)
        folder = checkpoint.folder
        budget = budget_of(checkpoint.version.tags, model)
        prompts = prompts_of(folder).model_copy(update={"pixels": PixelBudgets(evaluation=budget)})
    else:
        folder = staged(model)
        # A base has no record: its prompts are those of the configuration.
        if (folder / RECORD).is_file():
            prompts = prompts_of(folder).model_copy(update={"pixels": prompts.pixels})
    evaluation = settings.evaluation.model_copy(update={"prompts": prompts})
    return folder, settings.model_copy(update={"evaluation": evaluation})
