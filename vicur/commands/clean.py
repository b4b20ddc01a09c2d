"""``vicur clean``: show and remove what a project stores on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vicur.commands.common import examples

if TYPE_CHECKING:
    from vicur.commands.disk_usage import Item


@examples(
    "vicur clean",
    "vicur clean --keep 3",
    "vicur clean --all --dry-run",
)
def clean(
    runs: Annotated[bool, typer.Option("--runs", help="Remove runs with their outputs, logs and reports.")] = False,
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="Remove all runs except the newest N.", metavar="N")
    ] = None,
    cache: Annotated[bool, typer.Option("--cache", help="Remove cached results. Stages then run again.")] = False,
    checkpoints: Annotated[
        bool,
        typer.Option(
            "--checkpoints", help="Remove checkpoints of unfinished stages. They then start from the beginning."
        ),
    ] = False,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Remove the embedded MLflow store with its runs and registered models.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Remove runs, cached results and checkpoints.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed without removing it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Show the disk usage of this project's runs, caches and checkpoints, and remove what the options name.

    Without options, nothing is removed. Files in use are never removed.
    """
    from vicur.commands.disk_usage import remove, survey

    items = survey(Path.cwd())
    kinds = {"run": runs or everything, "result": cache or everything, "checkpoints": checkpoints or everything}
    kinds["tracking"] = mlflow
    selected = [item for item in items if kinds[item.kind]]
    if keep is not None:
        # Runs are listed from the oldest to the newest.
        all_runs = [item for item in items if item.kind == "run"]
        older = all_runs[: max(0, len(all_runs) - keep)]
        selected = [item for item in selected if item.kind != "run"] + older
    if not selected:
        _show(items)
        has_options = any(kinds.values()) or keep is not None
        typer.echo("Nothing to remove." if has_options else "See 'vicur clean --help' for options to remove files.")
        return
    _show(selected)
    # A stage may start to use a result during the confirmation: remove() looks at its lock again.
    removable = [item for item in selected if not item.in_use]
    if dry_run or not removable:
        typer.echo("Nothing was removed.")
        return
    if not yes:
        typer.confirm("Remove all of these?", abort=True)
    typer.echo(f"Freed {_bytes(remove(removable))}.")


_NAMES = {"run": "runs", "result": "cached results", "checkpoints": "checkpoints", "tracking": "MLflow store"}


def _show(items: list[Item]) -> None:
    """Print a line for each kind of item and below it a line for each folder."""
    for kind, name in _NAMES.items():
        of_kind = [item for item in items if item.kind == kind]
        if not of_kind:
            continue
        typer.echo(f"{name:15}{_bytes(sum(item.size for item in of_kind)):>9}")
        groups: dict[str, list[Item]] = {}
        for item in of_kind:
            groups.setdefault(_place(item), []).append(item)
        for place, group in groups.items():
            note = "  (in use, not removed)" if any(item.in_use for item in group) else ""
            count = f"  ({len(group)})" if len(group) > 1 else ""
            typer.echo(f"  {_bytes(sum(item.size for item in group)):>9}  {place}{count}{note}")


def _place(item: Item) -> str:
    # There are many cached results and checkpoints, so they are added up for each stage.
    path = item.path if item.kind in ("run", "tracking") else item.path.parent
    return str(path.relative_to(Path.cwd()))


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
