"""``vicur answers``: measure how reliably the answer checker judges labelled responses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vicur.commands.common import Commands, examples, help_with_examples

if TYPE_CHECKING:
    from vicur.answers.audit import AnswerAudit

app = Commands(
    help=help_with_examples("Audit the answer checker.", "vicur answers audit labelled.jsonl"), no_args_is_help=True
)


@app.command()
@examples(
    "vicur answers audit labelled.jsonl",
    "vicur answers audit labelled.jsonl --extractor strict --json audit.json",
)
def audit(
    file: Annotated[Path, typer.Argument(help="JSONL file of labelled responses.", show_default=False)],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File to write the audit to, as JSON.", show_default=False)
    ] = None,
    extractor: Annotated[
        Literal["strict", "lenient"],
        typer.Option("--extractor", help="Extractor of final answers: evaluations use lenient, rewards use strict."),
    ] = "lenient",
) -> None:
    """Judge labelled responses with the answer checker, and report where it disagrees with the labels.

    Each row of the file has the fields answer, response and correct (true or false), and optionally choices and kind. Prints agreement,
    false accepts and false rejects by kind, and every disagreement.
    """
    from vicur.answers.audit import audit as audit_rows
    from vicur.answers.audit import read_labelled

    result = audit_rows(read_labelled(file), extractor)
    _print(result)
    if json_file is not None:
        _write(result, json_file)


def _print(result: AnswerAudit) -> None:
    width = max(map(len, ("total", *result.by_kind)))
    typer.echo(f"{'kind':{width}}  {'rows':>6}  {'agreement':>9}  {'false accepts':>13}  {'false rejects':>13}")
    for kind, counts in [*result.by_kind.items(), ("total", result.total)]:
        typer.echo(
            f"{kind:{width}}  {counts.rows:6}  {counts.agreement:9.1%}  {counts.false_accepts:13}  {counts.false_rejects:13}"
        )
    for each in result.disagreements:
        verdict = "false reject" if each.correct else "false accept"
        choices = f", choices {list(each.choices)}" if each.choices else ""
        typer.echo(
            f"\n{verdict} in row {each.row} ({each.kind}): answer {each.answer!r}{choices}, extracted {each.extracted!r}\n"
            f"  {_shortened(each.response)!r}"
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:150]} ... {text[-150:]}"


def _write(result: AnswerAudit, path: Path) -> None:
    import json

    from vicur.storage.folders import new_file

    with new_file(path) as file:
        file.write_text(
            json.dumps(result.record(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8", errors="replace"
        )
