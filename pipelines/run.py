"""Run a pipeline on this machine, from its configuration to its summary."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text
from vicur_pipelines.live import view_of
from vicur_pipelines.models import require_engines, require_harness, require_models
from vicur_pipelines.progress import Progress, Step, duration
from vicur_pipelines.run_folder import RUNS, RunFolder, open_run, point_latest_at
from vicur_pipelines.summary import ErrorRecord, RunSummary, ablation_table, results_table, summarize
from vicur_pipelines.supervisor import PIPELINE_LOG, supervise
from vicur_pipelines.table import Pipeline, pipeline_of

from vicur.processes.signals import Stopped
from vicur.stage.runner import DEFAULT_CACHE
from vicur.stage.table import PipelineConfig, step_labels
from vicur.steps.stage_step import log_file
from vicur.storage.folders import link_or_copy, new_file, sweep_below
from vicur.weights import pinned


def run_pipeline(
    config: PipelineConfig,
    *,
    new: bool = False,
    root: Path = RUNS,
    cache: Path = DEFAULT_CACHE,
    console: Console | None = None,
    copy_to: Path | None = None,
) -> int:
    """Run the pipeline for a type of configuration, show its progress, and return the exit code.

    Args:
        new: start a new run even if the last one of this configuration has not succeeded.
        copy_to: also write the page of results there, and its plots to a folder of the same name.

    Raises:
        VicurError: if the run cannot be started.
    """
    console = console or Console()
    config = pinned(config)
    require_models(config)
    require_engines(config)
    require_harness(config)
    run, resumed = open_run(root, config, new=new)
    progress = Progress(step_labels(config))
    with run.held():
        run.prepare()
        sweep_below(cache)
        point_latest_at(run)
        began = time.monotonic()
        console.print(f"{'Resuming run' if resumed else 'Run'} {run.run_id}, logs in {run.logs}", highlight=False)
        number = 0
        try:
            with view_of(progress, console) as view:
                code = supervise(run, cache, view.follow)
        except Stopped as stopped:
            number, code = stopped.number, 128 + stopped.number
        status = "succeeded" if code == 0 else "stopped" if number else "failed"
        error = None if code == 0 else _error(run, progress, number)
        summary = summarize(run.run_id, progress, status, time.monotonic() - began, error)
        page = _write_results(run, pipeline_of(config), progress, summary)
        shutil.rmtree(run.temporary, ignore_errors=True)
    if copy_to is not None and page is not None:
        _copy_page(page, copy_to)
    _print_results(run, summary, page, progress["compare"].summary.get("chosen"), console)
    return code if code == 0 or number else 1


def _error(run: RunFolder, progress: Progress, number: int) -> ErrorRecord:
    if number:
        message = f"received {signal.Signals(number).name}."
        return ErrorRecord(stage=None, message=message, log=str(run.logs.name))
    if progress.failed:
        return _record(run, progress.failed[0], progress.failed[0].text)
    running = [step for step in progress.steps if step.state == "running"]
    if running:
        return _record(
            run, running[0], "the process ended without a message. It was probably killed, perhaps for lack of memory."
        )
    log = run.logs / PIPELINE_LOG
    last_line = log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
    message = f"the pipeline itself failed: {last_line}"
    return ErrorRecord(stage=None, message=message, log=str(log.relative_to(run.path)))


def _record(run: RunFolder, step: Step, message: str) -> ErrorRecord:
    return ErrorRecord(stage=step.name, message=message, log=str(log_file(Path(run.logs.name), step.name)))


def _write_results(run: RunFolder, pipeline: Pipeline, progress: Progress, summary: RunSummary) -> Path | None:
    """Write the summary and copy the result files into the run's folder. Return the main result file, if there is one."""
    label, names = pipeline.result
    step = progress[label]
    page = None
    if step.state in ("finished", "reused") and step.output is not None:
        for name in names:
            source, target = Path(step.output) / name, run.path / name
            if source.is_dir():
                link_or_copy(source, target)
                continue
            with new_file(target) as file:
                shutil.copyfile(source, file)
        page = run.path / names[0]
    with new_file(run.summary) as file:
        file.write_text(summary.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return page


def _copy_page(page: Path, target: Path) -> None:
    """Copy a page and the folder of the same name next to it, and adapt the page's links to the new name."""
    text = page.read_text(encoding="utf-8").replace(f"]({page.stem}/", f"]({target.stem}/")
    with new_file(target) as file:
        file.write_text(text, encoding="utf-8")
    link_or_copy(page.with_suffix(""), target.with_suffix(""))


def _print_results(
    run: RunFolder, summary: RunSummary, page: Path | None, chosen: str | None, console: Console
) -> None:
    console.print()
    if summary.evaluation is not None:
        console.print(results_table(summary.evaluation, chosen))
        console.print()
    if summary.ablation is not None:
        console.print(ablation_table(summary.ablation))
        console.print()
        for sentence in summary.ablation.held:
            console.print(f"- {sentence}", highlight=False, markup=False, soft_wrap=True)
        console.print()
    if page is not None:
        console.print(f"Report:  {os.path.relpath(page)}", highlight=False, soft_wrap=True)
    if summary.registry is not None:
        registry = summary.registry
        aliases = ", ".join(registry.aliases) or "no alias"
        gate = "passed" if registry.gate.passed else "not passed"
        console.print(f"Model:   {registry.model} version {registry.version} ({aliases}), gate {gate}", highlight=False)
        for reason in registry.gate.reasons:
            console.print(f"         {reason}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"Summary: {os.path.relpath(run.summary)}, {duration(summary.seconds)}", highlight=False, soft_wrap=True
    )
    if summary.error is not None:
        error = summary.error
        text = Text.assemble((f"{error.stage or 'The run'} {summary.status}: ", "bold red"), error.message)
        console.print(text, soft_wrap=True)
        console.print(f"Log:     {os.path.relpath(run.path / error.log)}", highlight=False, soft_wrap=True)
        console.print("Run the same command (without --new) to resume this run.", style="dim")
