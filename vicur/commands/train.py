"""``vicur train``: train one student."""

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


@examples(
    "vicur train --output students/vicur",
    "vicur train --method opsd --output students/opsd --set training.privilege=rationale",
    "vicur train --method opd --output students/opd --set 'training.teacher={type: checkpoint, path: teacher}'",
    "vicur train --output students/vicur --checkpoints s3://bucket/vicur",
    "vicur train --output students/vicur --config configs/qwen3-vl-8b.yaml --set training.distribution.processes=8",
    "vicur train --output students/slow --fork-from s3://bucket/vicur --set training.learning_rate=1e-5",
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
        str | None,
        typer.Option(
            "--base", help="Folder or address of the base model, or 'tiny'. Default: base.path of the configuration."
        ),
    ] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            "--checkpoints",
            metavar="FOLDER|s3://...",
            help="Folder or S3 address for checkpoints, to resume on another machine. Default: a cache folder on this one.",
        ),
    ] = None,
    fork_from: Annotated[
        str | None,
        typer.Option(
            "--fork-from",
            metavar="FOLDER|s3://...",
            help="Start from the newest checkpoint in this place, with other settings. It is not changed.",
        ),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    cache: CacheOption = True,
) -> None:
    """Train a student by one method.

    A method sets privilege, teacher, cue recovery and objective; each can also be set by itself (docs/methods.md).

    The output is a folder for from_pretrained, with the training curves. A training that was interrupted resumes from its last
    checkpoint if you run the same command again: with any number of processes and, with --checkpoints, on another machine. It uses all
    GPUs of a machine, and those of several machines if each runs the same command with torchrun's environment variables
    (docs/distribution.md).
    """
    from vicur.processes.machines import Machines
    from vicur.weights import pinned, stage_models, staged

    # The configuration's other methods are left out: settings that they cannot have do not matter for this one.
    options = {
        "methods": ("--method", [method]),
        "base.path": ("--base", base),
        "checkpoints": ("--checkpoints", checkpoints),
    }
    settings = pinned(configuration(config, overrides, options))
    section = settings.training.for_method(method)
    typer.echo(f"{method}: {section.description}")
    inputs = {"dataset": dataset, "cues": cues, "base": staged(settings.base.path)}
    if Machines.from_environment().rank > 0:
        from vicur.training.train import assist_training

        stage_models(section)
        typer.echo("This machine takes part in the training. Machine 0 writes checkpoints and the student.")
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
