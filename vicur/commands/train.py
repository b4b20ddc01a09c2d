"""``vicur train``: one student."""

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


def train(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the student.", show_default=False)],
    method: Annotated[
        str,
        typer.Option("--method", "-m", help="opsd, opsd-cue, opsd-recovery, vicur, opd, opd-vicur, grpo or sft."),
    ] = "vicur",
    dataset: DatasetOption = Path("data"),
    cues: CuesOption = Path("cues"),
    base: Annotated[
        str | None, typer.Option("--base", help="Folder of the base model, or 'tiny'; the configuration's if left out.")
    ] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            "--checkpoints",
            metavar="FOLDER|s3://...",
            help="Where to keep checkpoints, so that the training can go on elsewhere; a folder of its own if left out.",
        ),
    ] = None,
    fork_from: Annotated[
        str | None,
        typer.Option(
            "--fork-from",
            metavar="FOLDER|s3://...",
            help="Begin with the newest checkpoint there, under the settings given here. Those checkpoints stay as they are.",
        ),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    cache: CacheOption = True,
) -> None:
    """Train a student by one method.

    A method's name stands for privilege, teacher, cue recovery and objective; each can be set by itself (docs/methods.md).

    The student is a folder that from_pretrained loads, with its training curves. A training that was killed goes on from its
    last checkpoint when the same command is given again, on any machine where --checkpoints names a place that it can reach, and
    with any number of processes. It takes all GPUs of a machine, and of several machines that are given the same command with
    torchrun's variables (docs/distribution.md).

    [bold]Examples[/bold]

      vicur train --output students/vicur

      vicur train --method opsd --output students/opsd --set training.privilege=rationale

      vicur train --method opd --output students/opd --set 'training.teacher={type: checkpoint, path: teacher}'

      vicur train --output students/vicur --checkpoints s3://bucket/vicur

      vicur train --output students/vicur --config configs/qwen3-vl-8b.yaml --set training.distribution.processes=8

      vicur train --output students/slow --fork-from s3://bucket/vicur --set training.learning_rate=1e-5
    """
    from vicur.processes.machines import Machines

    # The configuration's other methods are left out: settings that they cannot have do not matter for this one.
    options = {
        "methods": ("--method", [method]),
        "base.path": ("--base", base),
        "checkpoints": ("--checkpoints", checkpoints),
    }
    settings = configuration(config, overrides, options)
    section = settings.training.for_method(method)
    typer.echo(f"{method}: {section.description}")
    inputs = {"dataset": dataset, "cues": cues, "base": settings.base.folder}
    if Machines.from_environment().rank > 0:
        from vicur.training.train import assist_training

        typer.echo("This machine takes part in the training; machine 0 keeps its checkpoints and writes the student.")
        assist_training(section, {**section.inputs(), **inputs}, settings.seed)
        return
    run_stage(
        "train",
        section,
        inputs,
        output,
        settings,
        subject=method,
        cache=cache,
        checkpoints=checkpoints or None,
        fork_from=fork_from,
    )
