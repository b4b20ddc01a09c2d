"""The ``vicur`` command: one sub-command per stage, and the commands that other packages register (``run``, ``compile``, ``submit``).

Commands import torch, MLflow and other large packages when they run, so that ``--help`` is fast. Invalid input ends with one message and
the exit code of its :class:`~vicur.errors.VicurError`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from vicur import __version__
from vicur.checkout import require_one_checkout
from vicur.commands import (
    answers,
    base,
    benchmarks,
    clean,
    cluster,
    compare,
    cues,
    data,
    doctor,
    evaluate,
    gpu_check,
    install,
    lineage,
    models,
    plan,
    register,
    registered,
    registry,
    reproduce,
    rollout_server,
    score,
    serve,
    train,
)
from vicur.commands.common import Commands, help_with_examples
from vicur.errors import VicurError
from vicur.processes.threads import limit_threads

PLUGINS = "vicur.commands"
"""Entry point group of commands from other packages. The pipeline commands need kfp, which this library must not import."""

# Headings of the commands in the help, in this order.
_PIPELINE = "Whole pipeline"
_STAGES = "Single stages"
_REGISTRY = "Registered models"
_MAINTENANCE = "Setup and maintenance"

app = Commands(
    name="vicur",
    help=help_with_examples(
        "Distil vision-language students on policy with visual cues.",
        "vicur run configs/local.yaml",
        "vicur compile configs/local.yaml --image registry.example.com/vicur-python:0.1.0 -o package.yaml",
        "vicur train --help",
    ),
    no_args_is_help=True,
    rich_markup_mode="rich",
    # Rich's tracebacks print local variables, which may contain secrets.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"vicur {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    del version


def plug_in(group: typer.Typer, entries: Iterable[EntryPoint]) -> list[str]:
    """Add the commands of other packages to ``group``. Returns the reason for each command that cannot be imported."""
    failures = []
    # `run` comes first in the help because it is the first command that most users need.
    for entry in sorted(entries, key=lambda entry: entry.name != "run"):
        try:
            command = entry.load()
        # A missing extra or a broken package must not disable the other commands.
        except Exception as error:  # noqa: BLE001
            failures.append(f"{entry.name}: {entry.value} cannot be imported ({type(error).__name__}: {error}).")
        else:
            _add(group, entry.name, command)
    return failures


def _add(group: typer.Typer, name: str, command: Any) -> None:
    if isinstance(command, typer.Typer):
        group.add_typer(command, name=name, rich_help_panel=_PIPELINE)
    else:
        group.command(name, rich_help_panel=_PIPELINE)(command)


_UNAVAILABLE = plug_in(app, entry_points(group=PLUGINS))
app.command("plan", rich_help_panel=_PIPELINE)(plan.plan)
app.add_typer(data.app, name="data", rich_help_panel=_STAGES)
app.add_typer(cues.app, name="cues", rich_help_panel=_STAGES)
app.add_typer(answers.app, name="answers", rich_help_panel=_STAGES)
app.command("train", rich_help_panel=_STAGES)(train.train)
app.command("rollout-server", rich_help_panel=_STAGES)(rollout_server.rollout_server)
app.command("evaluate", rich_help_panel=_STAGES)(evaluate.evaluate)
app.add_typer(benchmarks.app, name="benchmarks", rich_help_panel=_STAGES)
app.command("compare", rich_help_panel=_STAGES)(compare.compare)
app.command("register", rich_help_panel=_STAGES)(register.register)
app.command("promote", rich_help_panel=_REGISTRY)(registry.promote)
app.command("rollback", rich_help_panel=_REGISTRY)(registry.rollback)
app.command("lineage", rich_help_panel=_REGISTRY)(lineage.lineage)
app.command("reproduce", rich_help_panel=_REGISTRY)(reproduce.reproduce)
app.add_typer(registered.app, name="registry", rich_help_panel=_REGISTRY)
app.command("score", rich_help_panel=_REGISTRY)(score.score)
app.command("serve", rich_help_panel=_REGISTRY)(serve.serve)
app.add_typer(cluster.app, name="cluster", rich_help_panel=_MAINTENANCE)
app.command("doctor", rich_help_panel=_MAINTENANCE)(doctor.doctor)
app.command("gpu-check", rich_help_panel=_MAINTENANCE)(gpu_check.gpu_check)
app.command("install", rich_help_panel=_MAINTENANCE)(install.install)
app.add_typer(models.app, name="models", rich_help_panel=_MAINTENANCE)
app.add_typer(base.app, name="base", rich_help_panel=_MAINTENANCE)
app.command("clean", rich_help_panel=_MAINTENANCE)(clean.clean)


def main() -> None:
    """Run the ``vicur`` command."""
    # Before any command imports torch, which reads the limits once.
    limit_threads(os.environ)
    try:
        # First: in a mixed checkout, commands may be unavailable for misleading reasons.
        require_one_checkout()
        for reason in _UNAVAILABLE:
            Console(stderr=True).print(f"Command not available: {reason}", style="yellow", markup=False, soft_wrap=True)
        app()
    except VicurError as error:
        show(error)
        sys.exit(error.exit_code)


def show(error: VicurError) -> None:
    """Print an error to stderr: its place, the problem and the remedy."""
    text = Text.assemble(("Error: ", "bold red"))
    if error.where:
        text.append(f"{error.where}: ", style="bold")
    text.append(f"{error.problem}\n").append(error.remedy, style="green")
    Console(stderr=True).print(text, soft_wrap=True)
