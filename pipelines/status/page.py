"""Print the status on one screen."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text
from vicur_pipelines.progress import duration
from vicur_pipelines.status.report import BlockedRow, ModelRow, Part, QueueRow, Report, RunRow

_STYLES = {"SUCCEEDED": "green", "FAILED": "bold red", "CANCELED": "yellow", "RUNNING": "bold", "CANCELING": "yellow"}
_AGREES = {"SUCCEEDED": ("FINISHED",), "FAILED": ("FAILED", "KILLED"), "CANCELED": ("KILLED", "FAILED")}
_TITLES = {"runs": "Runs", "queues": "Queues", "blocked": "Waiting", "models": "Models"}
_NOTHING = {
    "runs": "none",
    "queues": "the namespace has no queue",
    "blocked": "nothing waits",
    "models": "no model has a champion or a candidate",
}


def print_report(report: Report, console: Console) -> None:
    """Print a report: one block per part."""
    _line(console, "Server", Text(f"{report.endpoint}, namespace {report.namespace}"))
    for name, title in _TITLES.items():
        part = report.parts[name]
        if part.problem:
            _line(console, title, Text(f"not available: {part.problem}", style="dim"))
        elif not part.rows:
            _line(console, title, Text(_NOTHING[name], style="dim"))
        else:
            _block(console, title, part)


def _line(console: Console, title: str, text: Text) -> None:
    console.print(Text.assemble((f"{title:<9}", "bold"), text), soft_wrap=True)


def _block(console: Console, title: str, part: Part) -> None:
    console.print(Text(title, style="bold"))
    rows = [list(_cells(row)) for row in part.rows]
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        line = Text("  ")
        for cell, width in zip(row, widths, strict=True):
            cell.pad_right(width - cell.cell_len + 2)
            line.append(cell)
        line.rstrip()
        # Not in a table, which would break lines in a file at 80 columns.
        console.print(line, soft_wrap=True)


def _cells(row: RunRow | QueueRow | BlockedRow | ModelRow) -> Iterable[Text]:
    match row:
        case RunRow():
            took = "" if row.seconds is None else duration(row.seconds)
            notes = [*row.steps, *(["schedule"] if row.schedule else []), *_disagreement(row)]
            return [
                Text(row.state, style=_STYLES.get(row.state, "")),
                *_plain(row.name, row.created, took, ", ".join(notes)),
            ]
        case QueueRow():
            usage = ", ".join(row.usage) or "usage unknown"
            return _plain(row.name, f"{row.admitted} admitted, {row.pending} waiting", f"{row.cluster_queue}: {usage}")
        case BlockedRow():
            return _plain(row.kind, row.name, row.task, row.reason)
        case ModelRow():
            champion = f"champion: version {row.champion} of {row.since}" if row.champion else "no champion"
            candidate = f"candidate: version {row.candidate}" if row.candidate else ""
            return _plain(row.name, champion, f"gate {row.gate}" if row.gate else "", candidate)


def _plain(*texts: str) -> list[Text]:
    return [Text(text) for text in texts]


def _disagreement(row: RunRow) -> list[str]:
    """Return MLflow's status if it says something else than Kubeflow Pipelines."""
    known = _AGREES.get(row.state, ("RUNNING", "SCHEDULED"))
    return [f"{row.mlflow} in MLflow"] if row.mlflow and row.mlflow not in known else []
