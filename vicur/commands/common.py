"""Options that several commands share, and the function that runs a single stage."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from vicur.commands.parsing import Command
from vicur.errors import VicurError
from vicur.wording import listed

if TYPE_CHECKING:
    from vicur.config.run import RunConfig
    from vicur.stage.runner import Summary
    from vicur.stage.table import StageEntry

F = TypeVar("F", bound=Callable[..., Any])
_EXAMPLES = "examples"


class Commands(typer.Typer):
    """A Typer app that wraps docstrings to the width of the terminal instead of keeping the source's line breaks."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """Return a decorator that adds a command whose help is its docstring."""

        def add(function: F) -> F:
            paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
            text = "\n\n".join(_joined(paragraph) for paragraph in paragraphs)
            text = help_with_examples(text, *getattr(function, _EXAMPLES, ()))
            # super() without arguments would take `function` for self.
            return super(Commands, self).command(name, cls=Command, help=text, **settings)(function)

        return add


def _joined(paragraph: str) -> str:
    # Examples are indented: they keep their lines, and their brackets are not markup.
    return paragraph.replace("[", "\\[") if paragraph.startswith(" ") else paragraph.replace("\n", " ")


def examples(*commands: str) -> Callable[[F], F]:
    """Return a decorator that shows examples in the help of a command."""

    def attach(function: F) -> F:
        setattr(function, _EXAMPLES, commands)
        return function

    return attach


def help_with_examples(text: str, *commands: str) -> str:
    """Return the help of a command or group of commands, with examples."""
    # The examples are indented, see _joined().
    shown = [_joined(f"  {command}") for command in commands]
    return "\n\n".join((text, "[bold]Examples[/bold]", *shown) if shown else (text,))


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Run configuration (YAML). Default: configs/local.yaml if it exists, else the built-in defaults.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Override a setting of the configuration. Repeatable."),
]
DatasetOption = Annotated[Path, typer.Option("--dataset", help="Folder of the prepared dataset.")]
CuesOption = Annotated[Path, typer.Option("--cues", help="Output folder of 'vicur cues extract'.")]
CacheOption = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Reuse the cached result of an identical run, and cache this one.")
]


# Default of --config if it exists, so that in a clone every command works on the run of `make run`.
LOCAL = Path("configs/local.yaml")


def configuration(
    path: Path | None, overrides: list[str] | None, options: Mapping[str, tuple[str, Any]] | None = None
) -> RunConfig:
    """Load the configuration from ``--config``, ``--set`` and other options, such as ``{"base.path": ("--base", base)}``."""
    from vicur.config.loading import load_config

    # None means that the option was not given.
    given = {name: (option, value) for name, (option, value) in (options or {}).items() if value is not None}
    return load_config(LOCAL if path is None and LOCAL.is_file() else path, overrides or (), given)


def run_stage(
    name: str,
    section: Any,
    inputs: Mapping[str, Path],
    output: Path,
    config: RunConfig,
    *,
    subject: str = "",
    cache: bool = True,
    checkpoints: str | None = None,
    fork_from: str | None = None,
    entry: StageEntry | None = None,
    quiet: bool = False,
) -> Summary:
    """Run one stage and show its progress on the terminal.

    Args:
        config: configuration of the run, for seed and tracking.
        subject: what the stage works on, such as a method.
        checkpoints: folder or S3 address for checkpoints. Default: the stage's scratch space.
        fork_from: checkpoints of another training to start from.
        entry: the stage, if it is one that works on a portion of the stage called ``name``. It does not log to MLflow.
        quiet: do not name the output.

    Raises:
        VicurError: if an input is invalid. Nothing is written.
    """
    from vicur.commands.console_events import ConsoleEvents
    from vicur.data.sources import all_inputs
    from vicur.stage.runner import execute
    from vicur.stage.session import command_session
    from vicur.stage.table import STAGES, step_label
    from vicur.tracking.tracker import Tracker
    from vicur.weights import stage_models

    # A script that runs several stages sets the variable to have them in one MLflow run.
    run_id = os.environ.get("VICUR_RUN_ID") or f"by-hand-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    stage_models(section)
    paths = all_inputs(section, inputs)
    stage = entry or STAGES[name]
    refuse_to_replace(output, stage.outputs, paths)
    with (
        command_session(
            run_id, config.seed, config.tracking, cache=cache, checkpoints=checkpoints, fork_from=fork_from
        ) as session,
        ConsoleEvents(step_label(name, subject)) as events,
    ):
        if entry is not None:
            session = replace(session, tracker=lambda _: Tracker())
        summary = execute(stage.reference, section, paths, output, session, events=events)
    if not quiet:
        typer.echo(f"Written to {output}")
    return summary


def refuse_to_replace(output: Path, writes: Sequence[str], inputs: Mapping[str, Path]) -> None:
    """Check that replacing an output folder would delete nothing but an earlier output, which consists of the files ``writes``.

    Raises:
        VicurError: if inputs or other files would be lost.
    """
    # Stages write a new folder and rename it over the old one, which removes everything in it.
    place = output.resolve()
    in_the_way = next((each for each in (place, *place.parents) if each.exists() and not each.is_dir()), None)
    if in_the_way is not None:
        raise VicurError(
            f"the output folder cannot be created, because {in_the_way} is a file.",
            where=str(output),
            remedy="Name another output folder.",
        )
    for name, path in inputs.items():
        if place == path.resolve() or place in path.resolve().parents:
            raise VicurError(
                f"the output folder contains the {name} that is read ({path}), which would be lost.",
                where=str(output),
                remedy="Name another output folder.",
            )
    try:
        present = list(output.iterdir()) if output.is_dir() else []
    except OSError as error:
        raise VicurError(
            f"the folder cannot be read: {error.strerror}.", where=str(output), remedy="Name another output folder."
        ) from error
    if not present:
        return
    others = sorted(p.name for p in present if not p.is_file() or not any(fnmatch(p.name, each) for each in writes))
    # Every output has the first file. Without it, the matching files may be the user's.
    if others or not (output / writes[0]).is_file():
        names = f": {listed(others, 3)}" if others else ""
        raise VicurError(
            f"the output folder contains other files, which would be lost{names}.",
            where=str(output),
            remedy="Name a new or empty folder.",
        )


def write_text(file: Path, text: str, option: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise VicurError(
            f"the file cannot be written: {error.strerror}.",
            where=f"{option} {file}",
            remedy="Name a file in an existing folder that this user can write to.",
        ) from error
