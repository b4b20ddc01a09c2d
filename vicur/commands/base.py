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
    "vicur base train models/tiny --data data --cues cues",
    "vicur base train models/tiny --data data --set steps=2000 --set max_pixels=36864",
    "vicur base train .vicur/base",
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
    cues: Annotated[
        Path | None,
        typer.Option(
            "--cues",
            metavar="CUES",
            help="Cues that 'vicur cues extract' wrote, as hints in place of the dataset's own.",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a model in the output folder.")] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a setting of the recipe.")
    ] = None,
) -> None:
    """Train a tiny base model from scratch.

    It is a real Qwen3-VL that a CPU can train; 'base.path' takes its folder. With --data, it learns the split 'base' of a dataset, or else
    half of the groups of 'distill' (share=0.5), with a tokenizer of the dataset's own text. That takes minutes on a CPU: try the whole
    pipeline on your data with it. If it is killed, the same command resumes it. With --cues, it learns to read the cues of an extraction;
    otherwise, those of the dataset. Without --data, it is the base that comes with this package, which has a vocabulary of words and learns
    the base pool of the digit scenes. The output contains its recipe and its accuracy.
    """
    import hashlib
    import shutil

    from vicur.commands.common import refuse_to_replace
    from vicur.commands.console_events import ConsoleEvents
    from vicur.config.loading import load_overrides
    from vicur.config.tiny_base import DatasetBaseConfig, TinyBaseConfig
    from vicur.errors import VicurError
    from vicur.stage.table import MODEL_FILES
    from vicur.storage.scratch import scratch_folder

    if data is None and cues is not None:
        raise VicurError("needs a dataset.", where="--cues", remedy="Name it with --data.")
    given = {"dataset": data, "cues": cues}
    refuse_to_replace(output, MODEL_FILES, {name: path for name, path in given.items() if path is not None})
    if not replace and output.is_dir() and any(output.iterdir()):
        raise VicurError(
            "has a model already.",
            where=str(output),
            remedy="Name another folder, or add --replace to train one in its place.",
        )
    # The imports after the checks, because they import torch.
    with ConsoleEvents("base") as events:
        if data is None:
            config = load_overrides(TinyBaseConfig, overrides or (), "--set")
            from vicur.training.tiny_base import train_tiny_base

            train_tiny_base(config, output, events)
        else:
            recipe = load_overrides(DatasetBaseConfig, overrides or (), "--set")
            from vicur.training.dataset_base import train_dataset_base

            # By the output, so that two trainings at the same time do not share checkpoints.
            place = hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:16]
            work = scratch_folder() / "base" / place
            record = train_dataset_base(recipe, data, output, events, cues=cues, checkpoints=work)
            shutil.rmtree(work, ignore_errors=True)
            typer.echo(_described(record))
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
