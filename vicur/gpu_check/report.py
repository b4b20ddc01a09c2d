"""Show the outcome of a check: tables on the terminal, ``gpu-check.json`` and a page."""

from __future__ import annotations

import html
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vicur.gpu_check.measurement import Measurement
from vicur.gpu_check.run import Report, Result
from vicur.pages.html import page_environment
from vicur.storage.folders import new_file

_STYLES = {"passed": "green", "failed": "bold red", "not checked": "yellow"}
_COLUMNS = ("phase", "seconds", "share", "peak, GiB", "planned, GiB")
_GIB = 2**30
_TEMPLATES = Path(__file__).parent


def record_of(report: Report) -> dict[str, Any]:
    """Return a report as JSON values."""
    return {
        "passed": report.passed,
        "seconds": report.seconds,
        "machine": asdict(report.machine),
        "checks": [asdict(result) for result in report.results],
        "measurements": [{**asdict(each), "memory_ratio": each.memory_ratio} for each in report.measurements],
        "calibration": report.calibration,
    }


def show_result(result: Result, console: Console) -> None:
    """Print the outcome of one check."""
    console.print(f"[{_STYLES[result.status]}]{result.status:<11}[/] {result.title}", highlight=False)
    console.print(f"            {result.detail}", style="dim", highlight=False, markup=False, soft_wrap=True)


def show_report(report: Report, console: Console) -> None:
    """Print the measurements, and what became of the checks."""
    for measurement in report.measurements:
        console.print()
        console.print(_table(measurement))
    counts = _counts(report)
    console.print()
    console.print(
        f"{report.machine.name}: {counts['passed']} passed, {counts['failed']} failed, {counts['not checked']} not checked "
        f"in {report.seconds:.0f} s.",
        style="bold green" if report.passed else "bold red",
        highlight=False,
        soft_wrap=True,
    )


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write ``gpu-check.json`` and ``gpu-check.html`` to a folder, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"gpu-check.json": json.dumps(record_of(report), indent=1) + "\n", "gpu-check.html": page_of(report)}
    for name, text in texts.items():
        with new_file(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def page_of(report: Report) -> str:
    """Return the report as one self-contained HTML page."""
    tables = [(each, rows_of(each)) for each in report.measurements]
    template = page_environment(_TEMPLATES).get_template("page.html.j2")
    return str(template.render(report=report, counts=_counts(report), tables=tables))


def markdown_of(report: Report) -> str:
    """Return the outcomes and the measurements as tables in Markdown."""
    counts = ", ".join(f"{count} {status}" for status, count in _counts(report).items())
    lines = [f"# {_cell(report.machine.name)}: {counts}", "", "| check | outcome | detail |", "|---|---|---|"]
    lines += [f"| {_cell(each.title)} | {each.status} | {_cell(each.detail)} |" for each in report.results]
    for measurement in report.measurements:
        lines += ["", f"## {_heading(measurement)}", "", f"| {' | '.join(_COLUMNS)} |", "|---" + "|--:" * 4 + "|"]
        lines += [f"| {' | '.join(row.values())} |" for row in rows_of(measurement)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    # Of messages of libraries and names of devices: neither columns nor HTML.
    return " ".join(html.escape(text, quote=False).replace("|", "\\|").split())


def rows_of(measurement: Measurement) -> list[dict[str, str]]:
    """Return the rows of a measurement's table: seconds, share of the step, peak and plan of each phase."""
    phases = dict.fromkeys((*measurement.seconds, *measurement.peaks))
    rows = []
    for phase in phases:
        seconds, peak, planned = (
            each.get(phase) for each in (measurement.seconds, measurement.peaks, measurement.planned)
        )
        rows.append(
            {
                "phase": phase,
                "seconds": "" if seconds is None else f"{seconds:,.3g}",
                "share": "" if seconds is None else f"{seconds / measurement.step:.0%}",
                "peak": "" if peak is None else f"{peak / _GIB:,.3f}",
                "planned": "" if planned is None else f"{planned / _GIB:,.3f}",
            }
        )
    return rows


def _table(measurement: Measurement) -> Table:
    table = Table(
        title=_heading(measurement),
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == "phase" else "right")
    for row in rows_of(measurement):
        table.add_row(*row.values())
    return table


def _heading(measurement: Measurement) -> str:
    return (
        f"A step of {measurement.shape} on {measurement.processes} device(s): {measurement.step:,.3g} s, "
        f"{measurement.tokens_per_second:,.0f} tokens/s a device, MFU {measurement.mfu:.1%}"
    )


def _counts(report: Report) -> dict[str, int]:
    return {status: sum(result.status == status for result in report.results) for status in _STYLES}
