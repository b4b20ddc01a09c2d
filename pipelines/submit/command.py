"""The command ``vicur submit``: run a pipeline in a cluster. kfp is imported only when it runs."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from vicur_pipelines.commands import (
    DEFAULT_PIPELINE,
    PipelineOption,
    PresetArgument,
    write_compiled,
    write_gpu_check_package,
)
from vicur_pipelines.submit.options import CaCertOption, EndpointOption, NamespaceOption, TokenOption

from vicur.commands.common import SetOption
from vicur.errors import VicurError

if TYPE_CHECKING:
    from vicur_pipelines.submit.packaged import Package
    from vicur_pipelines.submit.server import Server


def submit(
    config: PresetArgument = None,
    overrides: SetOption = None,
    package: Annotated[
        Path | None,
        typer.Option("--package", "-f", help="A compiled package, instead of a configuration.", show_default=False),
    ] = None,
    pipeline: PipelineOption = DEFAULT_PIPELINE,
    gpu_check: Annotated[
        bool,
        typer.Option(
            "--gpu-check",
            help="Run 'vicur gpu-check' on a node of the configuration's GPU pool instead of a pipeline. Parameters: shapes, only, "
            "seconds.",
        ),
    ] = False,
    image: Annotated[
        str | None, typer.Option("--image", help="Container image of the steps, with vicur and its dependencies.")
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="NAME=VALUE",
            help="A parameter of the run. SECTION.FIELD=VALUE sets a single setting. Can be given several times.",
        ),
    ] = None,
    experiment: Annotated[
        str, typer.Option("--experiment", "-e", help="Experiment of the run. It is created if it does not exist.")
    ] = "vicur",
    run_name: Annotated[
        str | None,
        typer.Option("--run-name", "-r", help="Name of the run. Default: the name of the pipeline with the time."),
    ] = None,
    service_account: Annotated[
        str | None,
        typer.Option("--service-account", help="Service account of the steps. Default: the server's."),
    ] = None,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Start the run without following it.")] = False,
    follow: Annotated[
        str | None, typer.Option("--follow", metavar="RUN_ID", help="Follow an existing run instead of starting one.")
    ] = None,
    terminate: Annotated[
        str | None, typer.Option("--terminate", metavar="RUN_ID", help="Terminate a run instead of starting one.")
    ] = None,
    every: Annotated[
        float, typer.Option("--every", min=0.1, help="Seconds between two requests while a run is followed.")
    ] = 5.0,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="CRON",
            help="Run it regularly instead of now: minute, hour, day, month and weekday, such as '0 3 * * *'.",
        ),
    ] = None,
    schedule_name: Annotated[
        str | None,
        typer.Option("--schedule-name", help="Name of the schedule. Default: the name of the pipeline with the date."),
    ] = None,
    endpoint: EndpointOption = None,
    namespace: NamespaceOption = None,
    token: TokenOption = None,
    ca_cert: CaCertOption = None,
) -> None:
    """Run a pipeline in a cluster: compile it, upload it if the server lacks it, start a run, and follow the run to its end.

    Each package is uploaded once, because the name of a version contains the digest of its package. Ctrl-C does not stop the run.

    Exit status: 0 if the run succeeded, 1 if it failed, 3 if it was terminated, 130 after Ctrl-C, 2 for wrong input and for a server that
    does not answer.

    [bold]Examples[/bold]

      vicur submit configs/qwen3-vl-8b.yaml --endpoint http://localhost:8080 --image registry.example.com/vicur-python-gpu:0.1.0

      vicur submit --package 8b.yaml -p gpu_count=8 -p 'train_methods=[vicur]' -p training.steps=400 --no-follow

      vicur submit --follow 5f0c5a0e-6b2b-4f0e-9d3b-2f1f7a3f1f11

      vicur submit --gpu-check configs/qwen3-vl-8b.yaml --set cluster.gpu_count=8 -p 'shapes=["2b"]'

      vicur submit --package 8b.yaml --schedule '0 3 * * *' --service-account vicur-pipeline
    """
    from rich.console import Console
    from vicur_pipelines.submit.output import add_schedule, follow_run, terminate_run
    from vicur_pipelines.submit.server import connect

    compiling = {
        "CONFIG": config,
        "--set": overrides,
        "--image": image,
        "--pipeline": pipeline != DEFAULT_PIPELINE,
        "--gpu-check": gpu_check,
    }
    _refuse_ignored_options(package, [name for name, value in compiling.items() if value], follow, terminate)
    _refuse_wrong_schedule(schedule, schedule_name, run_name, follow or terminate)
    if not experiment.strip():
        raise VicurError(
            "the name of the experiment is empty.",
            where="--experiment",
            remedy="Name an experiment, or omit the option.",
        )
    console = Console()
    if follow is not None or terminate is not None:
        server = connect(endpoint, namespace, token, ca_cert)
        if terminate is not None:
            terminate_run(server, terminate)
            return
        raise typer.Exit(follow_run(server, str(follow), console, every))
    with tempfile.TemporaryDirectory() as folder:
        chosen = _package(package, Path(folder), config, overrides, image, None if gpu_check else pipeline)
        values = _values(chosen, parameters)
        server = connect(endpoint, namespace, token, ca_cert)
        if schedule is not None:
            add_schedule(server, chosen, values, experiment, schedule, schedule_name, service_account)
            return
        run_id = _start(server, chosen, values, experiment, run_name, service_account)
    if no_follow:
        typer.echo(f"Follow it: vicur submit --follow {run_id}")
        return
    raise typer.Exit(follow_run(server, run_id, console, every))


def _refuse_ignored_options(
    package: Path | None, compiled: list[str], follow: str | None, terminate: str | None
) -> None:
    """Refuse options of which one would be ignored. ``compiled`` are those that a new package is compiled with."""
    run_id = "--follow" if follow is not None else "--terminate" if terminate is not None else None
    if {"--gpu-check", "--pipeline"} <= set(compiled):
        raise VicurError(
            "--gpu-check and --pipeline exclude each other.", where="--gpu-check", remedy="Give only one of them."
        )
    if follow is not None and terminate is not None:
        raise VicurError(
            "--follow and --terminate exclude each other.", where="--follow", remedy="Give only one of them."
        )
    # From an unset variable of a shell. Without this check, a new run would be started.
    if run_id and not (follow or terminate or "").strip():
        raise VicurError("the id of the run is empty.", where=run_id, remedy="Give the id that 'vicur submit' printed.")
    if run_id and (compiled or package):
        raise VicurError(
            "an existing run needs no package.",
            where=run_id,
            remedy=f"Omit {(compiled or ['--package'])[0]}.",
        )
    if package and compiled:
        raise VicurError(
            f"{compiled[0]} has no effect on a package that is already compiled.",
            where="--package",
            remedy="Change its parameters with --param, or omit --package.",
        )


def _refuse_wrong_schedule(schedule: str | None, name: str | None, run_name: str | None, run_id: str | None) -> None:
    """Refuse a schedule that is not one, before anything is compiled, and options that would be ignored."""
    from vicur_pipelines.submit.cron import parse_schedule
    from vicur_pipelines.submit.schedule import require_name

    if schedule is None:
        if name is not None:
            raise VicurError("no schedule is given.", where="--schedule-name", remedy="Give --schedule as well.")
        return
    if run_id:
        raise VicurError(
            "an existing run has no schedule.", where="--schedule", remedy="Omit --follow and --terminate."
        )
    if run_name is not None:
        raise VicurError(
            "Kubeflow Pipelines names the runs of a schedule itself, after the schedule.",
            where="--run-name",
            remedy="Give --schedule-name instead.",
        )
    parse_schedule(schedule)
    if name is not None:
        require_name(name)


def _package(
    file: Path | None,
    folder: Path,
    config: Path | None,
    overrides: list[str] | None,
    image: str | None,
    pipeline: str | None,
) -> Package:
    """Return the package that the options name. It is compiled into ``folder`` if none is given; without a pipeline, it is a GPU check."""
    from vicur_pipelines.submit.packaged import Package

    if file is None:
        file = folder / "package.yaml"
        if pipeline is None:
            write_gpu_check_package(file, config, overrides, image)
        else:
            write_compiled(file, config, overrides, image, versioned=True, pipeline=pipeline)
    return Package.read(file)


def _values(package: Package, parameters: list[str] | None) -> dict:
    from vicur_pipelines.submit.check import require_valid
    from vicur_pipelines.submit.parameters import run_parameters

    values = run_parameters(parameters or (), package.parameters)
    require_valid(package, values, parameters or ())
    return values


def _start(
    server: Server,
    package: Package,
    values: dict,
    experiment: str,
    run_name: str | None,
    service_account: str | None,
) -> str:
    """Upload a package, start a run of it, and return the run's id."""
    from vicur_pipelines.submit.output import upload_package
    from vicur_pipelines.submit.start import start

    version = upload_package(server, package)
    name = run_name or f"{package.pipeline} {datetime.now():%Y-%m-%d %H:%M}"
    run_id = start(server, version, name, experiment, values, service_account)
    typer.echo(f"Run {run_id} ({name}): {server.run_url(run_id)}")
    return run_id
