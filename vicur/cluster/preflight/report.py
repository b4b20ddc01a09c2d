"""Reports of check results: a terminal table, Markdown, JSON and a summary line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from vicur.cluster.preflight.check import Result, Scope

Label = Literal["ok", "warning", "failed", "missing"]
_STYLES: dict[Label, str] = {"ok": "green", "warning": "yellow", "failed": "bold red", "missing": "cyan"}


def label(result: Result, scopes: Collection[Scope]) -> Label:
    """Return a result's status, or ``missing`` if it failed but is not needed for the requested scopes."""
    if result.finding.status == "failed" and result.check.scope not in scopes:
        return "missing"
    return result.finding.status


def passes(results: Sequence[Result], scopes: Collection[Scope]) -> bool:
    """Return whether all checks passed that are needed for the requested scopes."""
    return all(label(result, scopes) != "failed" for result in results)


def table(results: Sequence[Result], scopes: Collection[Scope]) -> Table:
    """Return a terminal table with one row per check."""
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold", max_width=24)
    rows.add_column(overflow="fold")
    for result in results:
        status = label(result, scopes)
        text = Text(result.finding.message)
        if result.finding.remedy:
            text.append(f"\n{result.finding.remedy}", style="green")
        rows.add_row(Text(status, style=_STYLES[status]), Text(result.check.name, style="bold"), text)
    return rows


def markdown(results: Sequence[Result], scopes: Collection[Scope]) -> str:
    """Return a Markdown table."""
    lines = ["| | check | finding | remedy |", "|---|---|---|---|"]
    for each in results:
        cells = (label(each, scopes), each.check.name, each.finding.message, each.finding.remedy)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def record(results: Sequence[Result], scopes: Collection[Scope]) -> dict[str, Any]:
    """Return the results for JSON: ``ok`` and ``checks``, each with name, scope, status, what, remedy and seconds."""
    checks = [
        {
            "name": each.check.name,
            "scope": each.check.scope,
            "status": label(each, scopes),
            "what": each.finding.message,
            "remedy": each.finding.remedy,
            "seconds": round(each.seconds, 2),
        }
        for each in results
    ]
    return {"ok": passes(results, scopes), "checks": checks}


def summary(results: Sequence[Result], scopes: Collection[Scope]) -> str:
    """Return the number of checks by status, in one line."""
    labels = [label(result, scopes) for result in results]
    counts = [f"{labels.count(each)} {each}" for each in _STYLES if each in labels]
    return ", ".join(counts)
