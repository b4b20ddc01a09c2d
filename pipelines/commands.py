"""Commands of the pipelines, plugged into ``vicur``: ``run``, ``ablate`` and ``compile``. kfp is imported only when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vicur.commands.common import SetOption, configuration

ConfigArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CONFIG]",
        help="Run configuration (YAML). Default: configs/local.yaml if it exists, otherwise the library's defaults.",
        show_default=False,
    ),
]

PresetArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CONFIG]",
        help="Configuration (YAML) of the package. Default: the library's defaults, never configs/local.yaml.",
        show_default=False,
    ),
]

DEFAULT_PIPELINE = "cluster"
PipelineOption = Annotated[
    Literal["cluster", "distill", "ablation"],
    typer.Option(
        "--pipeline",
        help="cluster: a form of a few fields. distill, ablation: whole sections as parameters.",
    ),
]


def run(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Start a new run even if the last one of this configuration has not succeeded."),
    ] = False,
) -> None:
    """Run the whole pipeline on this machine.

    Prepares the dataset, extracts cues, trains a student with each method, evaluates the students against their base, writes the report
    and registers the best student. Finished work is reused. The same command resumes a run that failed, was stopped or was killed.

    [bold]Examples[/bold]

      vicur run

      vicur run configs/local.yaml --set training.steps=50

      vicur run --set methods='[vicur]' --new
    """
    from vicur_pipelines.run import run_pipeline

    raise typer.Exit(run_pipeline(configuration(config, overrides), new=new))


def ablate(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Configuration of the ablation (YAML): its arms and seeds.")
    ],
    overrides: SetOption = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Start a new run even if the last one of this configuration has not succeeded."),
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            metavar="PAGE.md",
            help="Also write the page of results to this file, and its plots to a folder of the same name.",
        ),
    ] = None,
) -> None:
    """Train each arm with each seed, evaluate all students, and compare the arms.

    An arm is a method with changed settings. A cell is an arm with one seed. Finished cells are reused, so the same command resumes an
    ablation that was stopped, and an ablation with another arm or seed trains only the new cells.

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
        str | None, typer.Option("--image", help="Container image of the steps, with vicur and its dependencies.")
    ] = None,
    unversioned: Annotated[
        bool,
        typer.Option(
            "--unversioned",
            help="Omit the code versions of the steps, so that the file changes only with the graph (for version control).",
        ),
    ] = False,
    pipeline: PipelineOption = DEFAULT_PIPELINE,
) -> None:
    """Compile a pipeline into a package for a cluster.

    The configuration is the preset of the package: it provides the defaults of the form and all settings outside of it, and its section
    [bold]cluster[/bold] defines how the steps run. The package contains the code versions of the steps, so that the cluster's cache
    notices changed code.

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
    """Compile a package as the options of a command say; see :func:`vicur_pipelines.package.write_package`.

    Raises:
        VicurError: if the configuration is wrong or the file cannot be written.
    """
    from vicur_pipelines.package import write_package
    from vicur_pipelines.table import PIPELINES

    from vicur.config.loading import load_settings

    settings = load_settings(PIPELINES[pipeline].config, config, overrides or ()) if config or overrides else None
    write_package(output, settings, image, versioned, pipeline)


def write_gpu_check_package(output: Path, config: Path | None, overrides: list[str] | None, image: str | None) -> None:
    """Compile the check of a GPU node as the options of a command say.

    Raises:
        VicurError: if the configuration is wrong or the file cannot be written.
    """
    from vicur_pipelines.package import write_gpu_check

    from vicur.config.loading import load_settings
    from vicur.config.run import RunConfig

    write_gpu_check(output, load_settings(RunConfig, config, overrides or ()), image)
