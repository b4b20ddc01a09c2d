"""What the stages' commands share: their options, progress on the terminal, and running a stage by hand."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from vicur.errors import VicurError

if TYPE_CHECKING:
    from vicur.config.run import RunConfig
    from vicur.stage.runner import Summary

F = TypeVar("F", bound=Callable[..., Any])


class Commands(typer.Typer):
    """An app whose commands' docstrings are wrapped for the terminal at hand, not for the source's width."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """Adds a command."""

        def add(function: F) -> F:
            paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
            text = "\n\n".join(_joined(paragraph) for paragraph in paragraphs)
            return super(Commands, self).command(name, help=text, **settings)(function)

        return add


def _joined(paragraph: str) -> str:
    """A paragraph on one line; an indented one (an example) as it is, its brackets no markup."""
    return paragraph.replace("[", "\\[") if paragraph.startswith(" ") else paragraph.replace("\n", " ")


def help_with_examples(text: str, *examples: str) -> str:
    """Help of a group of commands."""
    return "\n\n".join((text, "[bold]Examples[/bold]", *(f"  {example}" for example in examples)))


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Run configuration (YAML). Left out: configs/local.yaml where there is one, else the defaults.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Override a setting; may be given several times."),
]
DatasetOption = Annotated[Path, typer.Option("--dataset", help="Prepared dataset.")]
CuesOption = Annotated[Path, typer.Option("--cues", help="Folder that 'vicur cues extract' wrote.")]
CacheOption = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Reuse a kept result of the same work, and keep this one.")
]


LOCAL = Path("configs/local.yaml")
"""Configuration of the commands that name none, where there is one: in the repository they all mean the run of ``make run``."""


def configuration(
    path: Path | None, overrides: list[str] | None, options: Mapping[str, tuple[str, Any]] | None = None
) -> RunConfig:
    """Load the run configuration that a command's options name.

    Args:
        path: value of ``--config``.
        overrides: values of ``--set``.
        options: settings that the command has an option for, such as ``{"base.path": ("--base", base)}``. ``None`` leaves one out.
    """
    from vicur.config.loading import load_config

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
) -> Summary:
    """Runs one stage by hand, with its progress on the terminal.

    Args:
        name: which stage.
        section: its section of the configuration.
        inputs: its inputs by name.
        output: folder to write or to replace.
        config: the whole configuration, for seed and tracking.
        subject: what the stage works on (a method).
        cache: whether to reuse and keep results.
        checkpoints: where the stage keeps its checkpoints; a folder of its own by default.
        fork_from: checkpoints of another training that it begins with.

    Raises:
        VicurError: for input that the user can mend, with nothing written.
    """
    from vicur.commands.console_events import ConsoleEvents
    from vicur.data.sources import stage_inputs
    from vicur.stage.runner import execute
    from vicur.stage.session import command_session
    from vicur.stage.table import STAGES
    from vicur.steps.stage_step import step_label

    run_id = os.environ.get("VICUR_RUN_ID") or f"by-hand-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    paths = {**stage_inputs(section), **inputs}
    refuse_to_replace(output, STAGES[name].outputs, paths)
    with (
        command_session(
            run_id, config.seed, config.tracking, cache=cache, checkpoints=checkpoints, fork_from=fork_from
        ) as session,
        ConsoleEvents(step_label(name, subject)) as events,
    ):
        summary = execute(STAGES[name].reference, section, paths, output, session, events=events)
    typer.echo(f"Written to {output}")
    return summary


def refuse_to_replace(output: Path, writes: Sequence[str], inputs: Mapping[str, Path]) -> None:
    """An output folder is replaced whole, so it must be no input, and hold nothing but an earlier output of the same stage.

    Args:
        output: the folder.
        writes: names of what the stage writes, the one that is always there first.
        inputs: what it reads.

    Raises:
        VicurError: where something would be lost.
    """
    place = output.resolve()
    for name, path in inputs.items():
        if place == path.resolve() or place in path.resolve().parents:
            raise VicurError(
                f"holds the {name} that is read, which would be lost.", where=str(output), remedy="Name another folder."
            )
    held = list(output.iterdir()) if output.is_dir() else []
    if not held:
        return
    others = sorted(p.name for p in held if not p.is_file() or not any(fnmatch(p.name, each) for each in writes))
    if others or not (output / writes[0]).is_file():
        shown = f" ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''})" if others else ""
        raise VicurError(
            f"holds other files, which would be lost{shown}.",
            where=str(output),
            remedy="Name a new or an empty folder.",
        )
