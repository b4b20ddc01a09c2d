"""``vicur data inspect``: show how a source would be read, and the section of the configuration that reads it."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vicur.commands.common import SetOption, examples
from vicur.errors import VicurError

if TYPE_CHECKING:
    from vicur.config.data import ImportConfig
    from vicur.data.inspection import Inspection, ShownRow

_LONGEST = 300  # characters of a value


@examples(
    "vicur data inspect my-photos",
    "vicur data inspect s3://team/geometry --rows 5",
    "vicur data inspect hf://owner/name --set data.subset=default",
    "vicur data inspect my-photos --set 'data.fields={question: query}' --json",
)
def inspect(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder or data file, s3://bucket/folder, <md5>.dir@REMOTE, or hf://owner/name@revision.",
            show_default=False,
        ),
    ],
    overrides: SetOption = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, help="Number of rows to show.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Show how a source would be read: its format, columns and splits, the first rows, and what cannot be used and why.

    Prints the section of the configuration that reads the source like this, to be pasted into a file. Reads a sample. Of a source on S3
    or the Hub, only the listing and the beginnings of a few files are fetched, at most 256 MB, and nothing is kept.
    """
    from vicur.commands.console_events import ConsoleEvents
    from vicur.data.inspection import inspect as inspect_source
    from vicur.data.sources import source_of
    from vicur.storage.scratch import scratch_folder

    config = _section(source, overrides or [])
    scratch = scratch_folder()
    scratch.mkdir(parents=True, exist_ok=True)
    with ConsoleEvents("inspect") as events, tempfile.TemporaryDirectory(prefix="inspect-", dir=scratch) as work:
        folder = source_of(config).excerpt(config, Path(work), events)
        found = inspect_source(folder, config, rows)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _print(found)


def _section(source: str, overrides: list[str]) -> ImportConfig:
    from vicur.config.data import ImportConfig
    from vicur.config.loading import load_overrides
    from vicur.config.run import RunConfig

    reference = _with_commit(source)
    if not re.match(r"[./~]|[a-z0-9]+://|[0-9a-fA-F]{32}(\.dir)?@", reference):
        reference = f"./{reference}"
    config = load_overrides(RunConfig, overrides, "--set", {"data": {"type": reference}}).data
    if not isinstance(config, ImportConfig):
        raise VicurError("is not a source of files.", where=source, remedy="Name a folder, an address or a hash.")
    return config


def _with_commit(source: str) -> str:
    """Return the address of a dataset on the Hub with the commit that its branch or tag names now."""
    match = re.fullmatch(r"hf://(?P<place>[^@]+/[^@]+)(?:@(?P<revision>.+))?", source)
    if match is None or re.fullmatch(r"[0-9a-f]{40}", match["revision"] or ""):
        return source
    from vicur.data.hub import newest_dataset_commit

    return f"hf://{match['place']}@{newest_dataset_commit(match['place'], match['revision'])}"


def _print(found: Inspection) -> None:
    import yaml

    typer.echo(f"# {found.format}: {found.description}")
    typer.echo(yaml.safe_dump({"data": _plain(found.config)}, sort_keys=False, allow_unicode=True, width=120).rstrip())
    typer.echo(f"\nRead {found.read} rows as a sample; {found.usable} of them can be used.")
    if found.fetched:
        typer.echo(f"Fetched {found.fetched}.")
    for row in found.rows:
        typer.echo("")
        _print_row(row)
    if found.columns:
        typer.echo("\nColumns")
        for name, column in found.columns.items():
            typer.echo(f"  {name:12} {column}")
    if found.unused:
        typer.echo(f"  {'(not used)':12} {', '.join(found.unused)}")
    if found.splits:
        typer.echo("\nSplits")
        for name, split in found.splits.items():
            typer.echo(f"  {name:12} {split}")
    if found.skipped:
        typer.echo("\nRows that cannot be used, one for each reason")
        for each in found.skipped:
            typer.echo(f"  {each}")
    if found.unsure:
        typer.echo("\nPlease check")
        for text in found.unsure:
            typer.echo(f"  - {text}")


def _print_row(row: ShownRow) -> None:
    values = {
        "row": f"{row.file}:{row.row}",
        "id": row.id,
        "split": row.split or "(shared out)",
        "images": ", ".join(row.images),
        "question": row.question,
        "choices": " | ".join(row.choices),
        "answer": row.answer,
    }
    for name, value in values.items():
        if value:
            typer.echo(f"{name:12} {value if len(value) <= _LONGEST else f'{value[:_LONGEST]}...'}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
