"""The pipelines' commands, plugged into ``vicur``: ``run``, ``ablate`` and ``compile``. kfp is imported only when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vicur.commands.common import SetOption, configuration

ConfigArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CONFIG]",
        help="Run configuration (YAML). Left out: configs/local.yaml where there is one, else the defaults.",
        show_default=False,
    ),
]

PresetArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CONFIG]",
        help="Configuration (YAML) that the package holds. Left out: the library's defaults, never configs/local.yaml.",
        show_default=False,
    ),
]

PipelineOption = Annotated[
    Literal["cluster", "distill", "ablation"],
    typer.Option(
        "--pipeline",
        help="cluster: a form of a few fields, on pools of GPUs; distill, ablation: all sections as parameters, placed anywhere.",
    ),
]


def run(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Start a new run also where the last one of this configuration has not ended well."),
    ] = False,
) -> None:
    """Run the whole pipeline on this machine.

    Prepares the dataset, extracts cues, trains a student with each method, evaluates them against their base, writes the report and
    registers the better student. Finished work is reused; a run that failed, was stopped or was killed goes on where it was when the
    same command is given again.

    [bold]Examples[/bold]

      vicur run

      vicur run configs/local.yaml --set training.steps=50

      vicur run --set methods='[vicur]' --new
    """
    from vicur_pipelines.run import run_pipeline

    raise typer.Exit(run_pipeline(configuration(config, overrides), new=new))


def ablate(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Configuration of an ablation (YAML): its arms and seeds.")
    ],
    overrides: SetOption = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Start a new run also where the last one of this configuration has not ended well."),
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            metavar="PAGE.md",
            help="Write the page of results there too, and its plots to the folder beside it that has its name.",
        ),
    ] = None,
) -> None:
    """Train every arm with every seed, evaluate all of them, and say what holds.

    An arm is a method with settings of its own; a cell is an arm with a seed. Finished cells are reused, so an ablation that was stopped
    goes on when the same command is given again, and one that gets another arm or seed trains only what is new.

    [bold]Examples[/bold]

      vicur ablate configs/ablation.yaml --results docs/results.md

      vicur ablate configs/ablation.yaml --set seeds='[0]' --set training.steps=20
    """
    from vicur_pipelines.run import run_pipeline

    from vicur.config.ablation import AblationConfig
    from vicur.config.loading import load_settings

    settings = load_settings(AblationConfig, config, overrides or ())
    raise typer.Exit(run_pipeline(settings, new=new, copy_to=results))


def compile_package(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (YAML).", show_default=False)],
    config: PresetArgument = None,
    overrides: SetOption = None,
    image: Annotated[
        str | None, typer.Option("--image", help="Container image of the steps; it holds vicur and what it needs.")
    ] = None,
    unversioned: Annotated[
        bool,
        typer.Option(
            "--unversioned",
            help="Leave out the code version of each step, so that the file changes with the graph only (the committed one).",
        ),
    ] = False,
    pipeline: PipelineOption = "cluster",
) -> None:
    """Compile a pipeline into a package for a cluster.

    The configuration is the package's preset: what the form of a run does not say is as the configuration has it, and its section
    [bold]cluster[/bold] says where steps run. The code versions of the steps are part of the package, so that the cluster's cache knows
    when code has changed.

    [bold]Examples[/bold]

      vicur compile -o package.yaml

      vicur compile configs/qwen3-vl-8b.yaml --image registry.example.com/vicur-python-gpu:0.1.0 -o 8b.yaml

      vicur compile configs/ablation.yaml --pipeline ablation -o ablation.yaml
    """
    write_compiled(output, config, overrides, image, not unversioned, pipeline)
    typer.echo(f"Written to {output}")


def write_compiled(
    output: Path, config: Path | None, overrides: list[str] | None, image: str | None, versioned: bool, pipeline: str
) -> None:
    """Compiles what the options of a command name; see :func:`vicur_pipelines.package.write_package`.

    Raises:
        VicurError: where the configuration is wrong or the file cannot be written.
    """
    from vicur_pipelines.package import write_package
    from vicur_pipelines.table import PIPELINES

    from vicur.config.loading import load_settings

    settings = load_settings(PIPELINES[pipeline].config, config, overrides or ()) if config or overrides else None
    write_package(output, settings, image, versioned, pipeline)
