"""The ``vicur`` command: one sub-command a stage, and those that other packages plug in (``run``, ``compile``, ``submit``).

Nothing heavy is imported before a command runs. Wrong input is told as one message with the error's exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

import typer
from rich.console import Console
from rich.text import Text

from vicur import __version__
from vicur.commands import (
    base,
    clean,
    cluster,
    compare,
    cues,
    data,
    doctor,
    evaluate,
    models,
    plan,
    register,
    registry,
    rollout_server,
    serve,
    train,
)
from vicur.commands.common import Commands, help_with_examples
from vicur.errors import VicurError
from vicur.processes.threads import limit_threads

PLUGINS = "vicur.commands"
"""Entry point group of commands that live outside the library, because what they need may not be imported here (kfp)."""

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


def plug_in(group: typer.Typer, found: Iterable[EntryPoint]) -> list[str]:
    """Adds the commands of other packages.

    Args:
        group: what to add them to.
        found: where they are.

    Returns:
        Why a command was left out, for each that cannot be imported (an extra is missing, or it is broken).
    """
    left_out = []
    for entry in sorted(found, key=lambda entry: entry.name != "run"):
        try:
            command = entry.load()
        except Exception as error:  # noqa: BLE001 (whatever another package's module does, the other commands work)
            left_out.append(f"{entry.name}: {entry.value} cannot be imported ({type(error).__name__}: {error}).")
        else:
            group.command(entry.name, rich_help_panel="Pipeline")(command)
    return left_out


_LEFT_OUT = plug_in(app, entry_points(group=PLUGINS))
app.command("plan", rich_help_panel="Pipeline")(plan.plan)
app.add_typer(data.app, name="data", rich_help_panel="Stages")
app.add_typer(cues.app, name="cues", rich_help_panel="Stages")
app.command("train", rich_help_panel="Stages")(train.train)
app.command("rollout-server", rich_help_panel="Stages")(rollout_server.rollout_server)
app.command("evaluate", rich_help_panel="Stages")(evaluate.evaluate)
app.command("compare", rich_help_panel="Stages")(compare.compare)
app.command("register", rich_help_panel="Stages")(register.register)
app.command("promote", rich_help_panel="Registry")(registry.promote)
app.command("rollback", rich_help_panel="Registry")(registry.rollback)
app.command("serve", rich_help_panel="Registry")(serve.serve)
app.add_typer(cluster.app, name="cluster", rich_help_panel="Upkeep")
app.command("doctor", rich_help_panel="Upkeep")(doctor.doctor)
app.add_typer(models.app, name="models", rich_help_panel="Upkeep")
app.add_typer(base.app, name="base", rich_help_panel="Upkeep")
app.command("clean", rich_help_panel="Upkeep")(clean.clean)


def main() -> None:
    """Entry point of the ``vicur`` command."""
    limit_threads(os.environ)
    for reason in _LEFT_OUT:
        Console(stderr=True).print(f"Command left out: {reason}", style="yellow", markup=False, soft_wrap=True)
    try:
        app()
    except VicurError as error:
        show(error)
        sys.exit(error.exit_code)


def show(error: VicurError) -> None:
    """Prints an error for people: where, what, and what to do."""
    text = Text.assemble(("Error: ", "bold red"))
    if error.where:
        text.append(f"{error.where}: ", style="bold")
    text.append(f"{error.problem}\n").append(error.remedy, style="green")
    Console(stderr=True).print(text, soft_wrap=True)
