"""What was found, for people, for programs and as an exit status."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from vicur.cluster.preflight.finding import Result, Scope

Word = Literal["ok", "warning", "failed", "missing"]
_STYLES: dict[Word, str] = {"ok": "green", "warning": "yellow", "failed": "bold red", "missing": "cyan"}


def word(result: Result, asked: Collection[Scope]) -> Word:
    """The word for a result: what fails is only missing where nobody has asked for what needs it."""
    if result.finding.status == "failed" and result.check.scope not in asked:
        return "missing"
    return result.finding.status


def passes(results: Sequence[Result], asked: Collection[Scope]) -> bool:
    """Whether nothing has failed that was asked for."""
    return all(word(result, asked) != "failed" for result in results)


def table(results: Sequence[Result], asked: Collection[Scope]) -> Table:
    """The findings with their remedies, a check a row."""
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold", max_width=24)
    rows.add_column(overflow="fold")
    for result in results:
        said = word(result, asked)
        text = Text(result.finding.what)
        if result.finding.remedy:
            text.append(f"\n{result.finding.remedy}", style="green")
        rows.add_row(Text(said, style=_STYLES[said]), Text(result.check.name, style="bold"), text)
    return rows


def markdown(results: Sequence[Result], asked: Collection[Scope]) -> str:
    """The findings as a Markdown table."""
    lines = ["| | check | finding | remedy |", "|---|---|---|---|"]
    for each in results:
        cells = (word(each, asked), each.check.name, each.finding.what, each.finding.remedy)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def record(results: Sequence[Result], asked: Collection[Scope]) -> dict[str, Any]:
    """The findings as JSON: ``ok``, and ``checks`` with ``name``, ``scope``, ``status``, ``what``, ``remedy`` and ``seconds`` each."""
    checks = [
        {
            "name": each.check.name,
            "scope": each.check.scope,
            "status": word(each, asked),
            "what": each.finding.what,
            "remedy": each.finding.remedy,
            "seconds": round(each.seconds, 2),
        }
        for each in results
    ]
    return {"ok": passes(results, asked), "checks": checks}


def summary(results: Sequence[Result], asked: Collection[Scope]) -> str:
    """How many checks came out how, in a line."""
    words = [word(result, asked) for result in results]
    counts = [f"{words.count(each)} {each}" for each in _STYLES if each in words]
    return ", ".join(counts)
