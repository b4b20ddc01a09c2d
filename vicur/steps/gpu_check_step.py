"""The step that checks the GPUs of a node, in a run of its own (``vicur submit --gpu-check``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from vicur.config.gpu_check import default_shapes
from vicur.errors import VicurError
from vicur.gpu_check import Options, Report, markdown_of, page_of, record_of, run_checks, show_report, show_result
from vicur.modeling.device import resolve_device
from vicur.steps.stage_step import run_as_step

LABEL = "gpu-check"
_FAILED = 1
_COLUMNS = 140  # of a log, in which rich sees no terminal


def run_gpu_check_step(shapes: Sequence[str], only: Sequence[str], seconds: float, files: Mapping[str, str]) -> None:
    """Check this node, and write what was found. Exit after one message if a check has failed, or none could be made.

    Args:
        shapes: models to measure, and ``only`` the checks to make; the default ones if empty, as of the command.
        seconds: time limit.
        files: files of the artifacts: ``table`` (Markdown), ``page`` (HTML) and ``record`` (JSON).
    """

    def check() -> None:
        console = Console(width=_COLUMNS)
        device = resolve_device("auto", "device")
        options = Options(device, tuple(shapes or default_shapes(device)), tuple(only), seconds)
        report = run_checks(options, lambda result: show_result(result, console))
        show_report(report, console)
        texts = {
            "table": markdown_of(report),
            "page": page_of(report),
            "record": json.dumps(record_of(report), indent=1) + "\n",
        }
        for name, text in texts.items():
            Path(files[name]).write_text(text, encoding="utf-8")
        _require_passed(report)

    run_as_step(LABEL, check)


def _require_passed(report: Report) -> None:
    if report.passed:
        return
    failed = [result.name for result in report.results if result.status == "failed"]
    raise VicurError(
        f"{len(failed)} of {len(report.results)} checks failed: {', '.join(failed)}."
        if failed
        else "no check could be made.",
        where=f"gpu-check, {report.machine.name}",
        # Kubeflow Pipelines keeps no artifact of a step that has failed.
        remedy="The log of this step has the outcome of each check. Keep trainings away from this node until it is repaired.",
        exit_code=_FAILED,
    )
