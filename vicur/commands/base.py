"""``vicur base``: tiny base models: the one that comes with this package, and one for a dataset of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vicur.commands.common import Commands, examples, help_with_examples

app = Commands(
    help=help_with_examples("Train a tiny base model.", "vicur base train models/tiny --data data"),
    no_args_is_help=True,
)


@app.command()
@examples(
    "vicur base train models/tiny --data data",
    "vicur base train models/tiny --data data --set steps=2000 --set max_pixels=36864",
    "vicur base train vicur/modeling/tiny/base",
    "vicur base train /tmp/base --set seed=1",
    "vicur base train teacher --set 'sizes={hidden_size: 128, heads: 4, layers: 6}' --set 'pools=[base, distill]' --set scenes=3350",
)
def train(
    output: Annotated[Path, typer.Argument(help="Folder for the model.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DATASET", help="Prepared dataset to train a base for. Default: the digit scenes."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a setting of the recipe.")
    ] = None,
) -> None:
    """Train a tiny base model from scratch.

    It is a real Qwen3-VL that a CPU can train; 'base.path' takes its folder. With --data, it learns the split 'base' of a dataset, or else
    half of the groups of 'distill' (share=0.5), with a tokenizer of the dataset's own text. That takes minutes on a CPU: try the whole
    pipeline on your data with it. Without --data, it is the base that comes with this package, which has a vocabulary of words and learns
    the base pool of the digit scenes. The output contains its recipe and its accuracy.
    """
    from vicur.commands.common import refuse_to_replace
    from vicur.commands.console_events import ConsoleEvents
    from vicur.config.loading import load_overrides
    from vicur.config.tiny_base import DatasetBaseConfig, TinyBaseConfig
    from vicur.stage.table import MODEL_FILES

    refuse_to_replace(output, MODEL_FILES, {} if data is None else {"dataset": data})
    # The imports after the checks, because they import torch.
    with ConsoleEvents("base") as events:
        if data is None:
            config = load_overrides(TinyBaseConfig, overrides or (), "--set")
            from vicur.training.tiny_base import train_tiny_base

            train_tiny_base(config, output, events)
        else:
            recipe = load_overrides(DatasetBaseConfig, overrides or (), "--set")
            from vicur.training.dataset_base import train_dataset_base

            typer.echo(_described(train_dataset_base(recipe, data, output, events)))
    typer.echo(f"Written to {output}")


def _described(record: dict[str, Any]) -> str:
    checked, data = record["checked"], record["dataset"]
    shares = [
        f"  {'no hint' if hint == 'none' else f'the {hint} as a hint':24} {100 * share:5.1f} %"
        for hint, share in checked["accuracy"].items()
    ]
    shares.append(f"  {'the commonest answer':24} {100 * checked['most_frequent_answer']:5.1f} %")
    head = f"Trained on {data['examples']:,} examples of {data['split']}. Correct answers to {checked['examples']} examples of "
    return "\n".join((f"{head}{checked['split']}, with", *shares))
