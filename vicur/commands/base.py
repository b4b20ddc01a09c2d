"""``vicur base``: the tiny base model that comes with this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import Commands, examples, help_with_examples

app = Commands(
    help=help_with_examples("Train the tiny base model.", "vicur base train models/tiny --set steps=100"),
    no_args_is_help=True,
)


@app.command()
@examples(
    "vicur base train vicur/modeling/tiny/base",
    "vicur base train /tmp/base --set seed=1",
    "vicur base train teacher --set 'sizes={hidden_size: 128, heads: 4, layers: 6}' --set 'pools=[base, distill]' --set scenes=3350",
)
def train(
    output: Annotated[Path, typer.Argument(help="Folder for the model.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a setting of the recipe.")
    ] = None,
) -> None:
    """Train the tiny base model from scratch.

    It is a real Qwen3-VL with a vocabulary of words, trained on the base pool of the digit scenes. The output contains its recipe and its
    accuracy.
    """
    from vicur.commands.common import refuse_to_replace
    from vicur.commands.console_events import ConsoleEvents
    from vicur.config.loading import load_overrides
    from vicur.config.tiny_base import TinyBaseConfig
    from vicur.stage.table import MODEL_FILES

    refuse_to_replace(output, MODEL_FILES, {})
    config = load_overrides(TinyBaseConfig, overrides or (), "--set")
    # After the checks, because it imports torch.
    from vicur.training.tiny_base import train_tiny_base

    with ConsoleEvents("base") as events:
        train_tiny_base(config, output, events)
    typer.echo(f"Written to {output}")
