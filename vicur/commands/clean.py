"""``vicur clean``: what takes disk, and removing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vicur.commands.disk_usage import Item


def clean(
    runs: Annotated[bool, typer.Option("--runs", help="Remove runs: their outputs, logs and reports.")] = False,
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="Remove all runs but the newest N.", metavar="N")
    ] = None,
    cache: Annotated[bool, typer.Option("--cache", help="Remove kept results: stages are run again.")] = False,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Remove checkpoints of unfinished work: it starts over.")
    ] = False,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Remove the embedded MLflow store: its runs and registered models.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Runs, kept results and checkpoints.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Say what takes disk in this project, and remove what you name.

    Without options nothing is removed. What is in use is left alone.

    [bold]Examples[/bold]

      vicur clean

      vicur clean --keep 3

      vicur clean --all --dry-run
    """
    from vicur.commands.disk_usage import remove, survey

    items = survey(Path.cwd())
    kinds = {"run": runs or everything, "result": cache or everything, "checkpoints": checkpoints or everything}
    kinds["tracking"] = mlflow
    named = [item for item in items if kinds[item.kind]]
    if keep is not None:
        all_runs = [item for item in items if item.kind == "run"]
        older = all_runs[: max(0, len(all_runs) - keep)]
        named = [item for item in named if item.kind != "run"] + older
    if not named:
        _tell(items)
        typer.echo(
            "Nothing to remove." if any(kinds.values()) or keep is not None else "See --help for what to remove."
        )
        return
    _tell(named)
    removable = [item for item in named if not item.in_use]
    if dry_run or not removable:
        typer.echo("Nothing was removed.")
        return
    if not yes:
        typer.confirm("Remove all of it?", abort=True)
    typer.echo(f"Removed: {_bytes(remove(removable))} given back.")


_NAMES = {"run": "runs", "result": "kept results", "checkpoints": "checkpoints", "tracking": "MLflow store"}


def _tell(items: list[Item]) -> None:
    """One line a kind, and under it one a folder; kept results by stage, for they are many."""
    for kind, name in _NAMES.items():
        mine = [item for item in items if item.kind == kind]
        if not mine:
            continue
        typer.echo(f"{name:14}{_bytes(sum(item.size for item in mine)):>9}")
        groups: dict[str, list[Item]] = {}
        for item in mine:
            groups.setdefault(_place(item), []).append(item)
        for place, group in groups.items():
            note = "  (in use, left alone)" if any(item.in_use for item in group) else ""
            many = f"  ({len(group)})" if len(group) > 1 else ""
            typer.echo(f"  {_bytes(sum(item.size for item in group)):>9}  {place}{many}{note}")


def _place(item: Item) -> str:
    path = item.path if item.kind in ("run", "tracking") else item.path.parent
    return str(path.relative_to(Path.cwd()))


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
