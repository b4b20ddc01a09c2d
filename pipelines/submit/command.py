"""``vicur submit``: a run in a cluster, from the configuration to the exit code. kfp is imported only when it runs."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from vicur_pipelines.commands import PipelineOption, PresetArgument, write_compiled

from vicur.commands.common import SetOption
from vicur.errors import VicurError

if TYPE_CHECKING:
    from rich.console import Console
    from vicur_pipelines.submit.follow import Ending
    from vicur_pipelines.submit.packaged import Package
    from vicur_pipelines.submit.server import Server

TERMINATED = 3
"""Exit status where the run was terminated."""
INTERRUPTED = 130
"""Exit status where the view was left (Ctrl-C); the run goes on."""


def submit(
    config: PresetArgument = None,
    overrides: SetOption = None,
    package: Annotated[
        Path | None,
        typer.Option("--package", "-f", help="A compiled package, in place of a configuration.", show_default=False),
    ] = None,
    pipeline: PipelineOption = "cluster",
    image: Annotated[
        str | None, typer.Option("--image", help="Container image of the steps; it holds vicur and what it needs.")
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="NAME=VALUE",
            help="A parameter of the run; SECTION.FIELD=VALUE sets one setting. May be given several times.",
        ),
    ] = None,
    experiment: Annotated[
        str, typer.Option("--experiment", "-e", help="Experiment of the run, created where there is none.")
    ] = "vicur",
    run_name: Annotated[
        str | None,
        typer.Option("--run-name", "-r", help="Name of the run; the pipeline's with the time if left out."),
    ] = None,
    service_account: Annotated[
        str | None,
        typer.Option("--service-account", help="Service account of the steps; the server's default if left out."),
    ] = None,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Start the run and leave it alone.")] = False,
    follow: Annotated[
        str | None, typer.Option("--follow", metavar="RUN_ID", help="Follow a run that is there; start none.")
    ] = None,
    terminate: Annotated[
        str | None, typer.Option("--terminate", metavar="RUN_ID", help="Terminate a run; start none.")
    ] = None,
    every: Annotated[
        float, typer.Option("--every", min=0.1, help="Seconds between two looks at a run that is followed.")
    ] = 5.0,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", envvar="KFP_ENDPOINT", help="Address of Kubeflow Pipelines.", show_default=False),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", envvar="KFP_NAMESPACE", help="Your profile, on a server of several users."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="KFP_EXISTING_TOKEN",
            help="Bearer token. Prefer the variable: others see a command line.",
            show_default=False,
        ),
    ] = None,
    ca_cert: Annotated[
        str | None,
        typer.Option(
            "--ca-cert",
            envvar="KFP_SSL_CA_CERT",
            help="Certificates of the authority that signs the server's own, where it is private.",
        ),
    ] = None,
) -> None:
    """Run a pipeline in a cluster: compile and upload it where the server lacks it, start a run, and follow that to its end.

    The same package is uploaded once: a version is named by the digest of its package. Ctrl-C leaves the run alone.

    Exit status: 0 where the run succeeded, 1 where it failed, 3 where it was terminated, 130 after Ctrl-C, 2 for wrong input and for a
    server that does not answer.

    [bold]Examples[/bold]

      vicur submit configs/qwen3-vl-8b.yaml --endpoint http://localhost:8080 --image registry.example.com/vicur-python-gpu:0.1.0

      vicur submit --package 8b.yaml -p gpu_count=8 -p 'methods=[vicur]' -p training.steps=400 --no-follow

      vicur submit --follow 5f0c5a0e-6b2b-4f0e-9d3b-2f1f7a3f1f11
    """
    from rich.console import Console
    from vicur_pipelines.submit.server import connect
    from vicur_pipelines.submit.start import terminate as end

    _refuse_mixed(package, config, overrides, image, follow, terminate)
    console = Console()
    if follow is not None or terminate is not None:
        server = connect(endpoint, namespace, token, ca_cert)
        if terminate is not None:
            end(server, terminate)
            typer.echo(f"Run {terminate} is being terminated; its exit step still runs.")
            return
        raise typer.Exit(_follow(server, str(follow), console, every))
    with tempfile.TemporaryDirectory() as folder:
        chosen = _package(package, Path(folder), config, overrides, image, pipeline)
        values = _values(chosen, parameters)
        server = connect(endpoint, namespace, token, ca_cert)
        run_id = _start(server, chosen, values, experiment, run_name, service_account)
    if no_follow:
        typer.echo(f"Follow it: vicur submit --follow {run_id}")
        return
    raise typer.Exit(_follow(server, run_id, console, every))


def _refuse_mixed(
    package: Path | None,
    config: Path | None,
    overrides: list[str] | None,
    image: str | None,
    follow: str | None,
    terminate: str | None,
) -> None:
    """Refuses options of which one would be ignored."""
    run_id = "--follow" if follow is not None else "--terminate" if terminate is not None else None
    compiled = [name for name, given in (("CONFIG", config), ("--set", overrides), ("--image", image)) if given]
    if follow is not None and terminate is not None:
        raise VicurError("a run is either followed or terminated.", where="--follow", remedy="Give one of the two.")
    # A variable of a shell that is not set. Without a run to look at, one would be started.
    if run_id and not (follow or terminate or "").strip():
        raise VicurError("names no run.", where=run_id, remedy="Give the id of a run, as 'vicur submit' prints it.")
    if run_id and (compiled or package):
        raise VicurError(
            "is for a run that is there, which needs no package.",
            where=run_id,
            remedy=f"Leave out {(compiled or ['--package'])[0]}.",
        )
    if package and compiled:
        raise VicurError(
            f"{compiled[0]} has no effect on a package that is compiled already.",
            where="--package",
            remedy="Change its parameters with --param, or leave out --package.",
        )


def _package(
    given: Path | None,
    folder: Path,
    config: Path | None,
    overrides: list[str] | None,
    image: str | None,
    pipeline: str,
) -> Package:
    """The package that the options name, compiled into ``folder`` where none is given."""
    from vicur_pipelines.submit.packaged import Package

    if given is None:
        given = folder / "package.yaml"
        write_compiled(given, config, overrides, image, versioned=True, pipeline=pipeline)
    return Package.read(given)


def _values(package: Package, parameters: list[str] | None) -> dict:
    from vicur_pipelines.submit.parameters import run_parameters

    return run_parameters(parameters or (), package.parameters)


def _start(
    server: Server,
    package: Package,
    values: dict,
    experiment: str,
    run_name: str | None,
    service_account: str | None,
) -> str:
    """Uploads and starts; says what it did. Returns the run's id."""
    from vicur_pipelines.submit.start import start
    from vicur_pipelines.submit.versions import upload

    version = upload(server, package)
    typer.echo(f"{package.pipeline} {package.version}: {'uploaded' if version.new else 'is on the server'}")
    name = run_name or f"{package.pipeline} {datetime.now():%Y-%m-%d %H:%M}"
    run_id = start(server, version, name, experiment, values, service_account)
    typer.echo(f"Run {run_id} ({name}): {server.run_url(run_id)}")
    return run_id


def _follow(server: Server, run_id: str, console: Console, every: float) -> int:
    """Follows a run; returns the exit status that its end deserves."""
    from vicur_pipelines.submit.follow import follow

    try:
        ending = follow(server, run_id, console, every)
    except KeyboardInterrupt:
        typer.echo(
            f"\nThe run goes on. Follow it: vicur submit --follow {run_id}\n"
            f"Terminate it: vicur submit --terminate {run_id}"
        )
        return INTERRUPTED
    _tell(server, run_id, ending)
    return {"SUCCEEDED": 0, "CANCELED": TERMINATED}.get(ending.state, 1)


def _tell(server: Server, run_id: str, ending: Ending) -> None:
    """Says how the run ended, and where to read more of a failure."""
    words = {"SUCCEEDED": "has succeeded", "FAILED": "has failed", "CANCELED": "was terminated"}
    steps = f" in {', '.join(ending.failed)}" if ending.failed and ending.state != "SUCCEEDED" else ""
    typer.echo(f"Run {run_id} {words.get(ending.state, 'was skipped')}{steps}: {server.run_url(run_id)}")
    if ending.message:
        typer.echo(ending.message)
    if ending.state == "FAILED":
        space = server.namespace or "<namespace of the runs>"
        typer.echo(f"Logs: kubectl logs -n {space} -l pipeline/runid={run_id} --prefix --tail=50 --all-containers")
