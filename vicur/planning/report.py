"""Print a plan as tables, or convert it to a JSON record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from vicur.planning.from_config import setting
from vicur.planning.parts import Memory, Part, peak
from vicur.planning.plan import Plan, PlannedRun
from vicur.planning.sizes import Sizes
from vicur.planning.suggest import Change

_GIB = 2**30
_PHASES = {
    "vision": "vision tower",
    "rollout": "rollout",
    "teacher": "teacher scoring",
    "forward": "student forward",
    "backward": "student backward",
    "loss": "loss",
}


def plan_record(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON values, in bytes, operations, seconds and hours."""
    memories = plan.memories
    kind, phase, size = plan.peak
    return {
        "fits": plan.fits,
        "input": plan.input.model_dump(mode="json"),
        "student": {"name": plan.models.student.name, **asdict(plan.models.sizes)},
        "teacher": None
        if plan.models.teacher_sizes is None
        else {"name": plan.models.teacher.name, **asdict(plan.models.teacher_sizes)},
        "limit_bytes": plan.limit,
        "memory_bytes": {
            name: {str(phase): {str(part): size for part, size in parts.items()} for phase, parts in memory.items()}
            for name, memory in memories.items()
        },
        "peak": {name: dict(zip(("phase", "bytes"), peak(memory), strict=True)) for name, memory in memories.items()},
        "highest": {"gpu": kind, "phase": phase, "bytes": size},
        "validation_rows": plan.validation_rows,
        "evaluation_rows": plan.evaluation_rows,
        "steps": plan.input.steps,
        "epochs": plan.epochs,
        "validations": plan.validations,
        "gpus": {"training": plan.input.gpus + plan.input.teacher_gpus, **plan.input.server_gpus},
        "checkpoint_bytes": plan.checkpoint_bytes,
        "expected": _run(plan, plan.expected),
        "longest": _run(plan, plan.longest),
        "suggestions": [
            {"set": _set(s.change), **asdict(s.change), "saves_bytes": s.saves, "fits": s.fits}
            for s in plan.suggestions
        ],
        "way_to_fit": None if plan.way_to_fit is None else _arguments(plan.way_to_fit),
    }


def _run(plan: Plan, run: PlannedRun) -> dict[str, Any]:
    # Times without calibration are null, as they are not shown.
    unknown = {} if plan.shows_times else dict.fromkeys(("seconds", "hours", "gpu_hours"))
    return {**asdict(run), **unknown}


def show_plan(plan: Plan, console: Console) -> None:
    """Print a plan to the terminal."""
    console.print(_models(plan))
    for model in dict.fromkeys((plan.models.student, plan.models.teacher)):
        if model.absent is not None:
            console.print(
                f"{model.absent} does not exist on this machine: planning with the published {model.name}.",
                style="dim",
                soft_wrap=True,
            )
    servers = {f"{part} server": count for part, count in plan.input.server_gpus.items()}
    counts = {"student": plan.input.gpus, "teacher": plan.input.teacher_gpus, "evaluation": 1, **servers}
    for kind, memory in plan.memories.items():
        # Not as the table's title, which rich would wrap to the width of the table.
        gpus = f"each of {counts[kind]} GPUs" if counts[kind] > 1 else "the GPU"
        console.print(f"Memory of {gpus} of the {kind}, GiB", style="bold", highlight=False)
        console.print(_memory(memory, plan.limit))
    console.print(_planned_runs(plan))
    for line in _assumptions(plan):
        console.print(line, style="dim", soft_wrap=True)
    console.print()
    _verdict(plan, console)


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=not number)
    return table


def _models(plan: Plan) -> Table:
    table = _table("Models", "", "parameters", "text", "vision tower", "cue recovery", "share")
    for role, name, sizes in _roles(plan):
        text = sizes.total - sizes.vision - sizes.recovery
        share = f"{100 * sizes.recovery / sizes.total:.2f} %" if sizes.recovery else ""
        table.add_row(
            f"{role}: {name}", f"{sizes.total:,}", f"{text:,}", f"{sizes.vision:,}", f"{sizes.recovery:,}", share
        )
    return table


def _roles(plan: Plan) -> Iterator[tuple[str, str, Sizes]]:
    yield "student", plan.models.student.name, plan.models.sizes
    if plan.models.teacher_sizes is not None:
        yield f"teacher ({plan.input.teacher})", plan.models.teacher.name, plan.models.teacher_sizes


def _memory(memory: Memory, limit: int) -> Table:
    table = _table("", "", *memory)
    for part in Part:
        sizes = [parts.get(part, 0) for parts in memory.values()]
        if any(sizes):
            table.add_row(part, *(_gib(size) if size else "" for size in sizes))
    totals = {phase: sum(parts.values()) for phase, parts in memory.items()}
    table.add_section()
    table.add_row(
        "total",
        *(f"[{'red' if size > limit else 'green'}]{_gib(size)}[/]" for size in totals.values()),
        style="bold",
    )
    table.add_row("limit", *(_gib(limit),) * len(totals))
    return table


def _planned_runs(plan: Plan) -> Table:
    table = _table("Planned run", "", "mean lengths", "maximum lengths")
    both = (plan.expected, plan.longest)

    def row(name: str, *cells: str) -> None:
        table.add_row(name, *cells)

    epochs = "" if plan.epochs is None else f" ({plan.epochs:.2f} epochs)"
    row("steps", *(f"{plan.input.steps:,}{epochs}",) * 2)
    row("sequences per step", *(f"{plan.input.sequences:,}",) * 2)
    row("prompt / response, tokens", *(f"{c.lengths.prompt:,} / {c.lengths.response:,}" for c in both))
    row("prompt tokens, millions", *(f"{c.prompt_tokens / 1e6:,.1f}" for c in both))
    row("response tokens, millions", *(f"{c.response_tokens / 1e6:,.1f}" for c in both))
    for field, name in _PHASES.items():
        row(f"{name}, PFLOP per step", *(f"{getattr(c.work, field) / 1e15:,.3g}" for c in both))
    row("all steps, EFLOP", *(f"{plan.input.steps * c.work.total / 1e18:,.3g}" for c in both))
    row("validations", *(f"{plan.validations:,}",) * 2)
    if plan.shows_times:
        for phase in ("vision", "rollout", "teacher", "update"):
            row(f"{_PHASES.get(phase, phase)}, seconds per step", *(f"{getattr(c.seconds, phase):,.3g}" for c in both))
        row("a validation, seconds", *(f"{c.seconds.validation:,.3g}" for c in both))
        row("hours", *(f"{c.hours:,.3g}" for c in both))
        table.add_row("GPU-hours", *(f"{c.gpu_hours:,.4g}" for c in both), style="bold")
    row("checkpoint on disk, GB", *(f"{plan.checkpoint_bytes / 1e9:,.1f}",) * 2)
    return table


def _assumptions(plan: Plan) -> Iterator[str]:
    i, h = plan.input, plan.input.hardware
    if plan.shows_times:
        yield (
            f"Times: measured on {h.calibrated_on}: matrix products at {h.utilisation:.0%} of {h.peak_tflops:g} TFLOPS, at least "
            f"{h.decode_overhead_ms:.3g} ms per decoding step. Assumed: {h.bandwidth:g} TB/s at {h.bandwidth_utilisation:.0%}, "
            f"{h.interconnect:g} TB/s between GPUs."
        )
    else:
        yield (
            "Times are not shown, because they depend on the machine: measure it with vicur gpu-check, and pass its file with "
            "--calibration gpu-check.json."
        )
    yield (
        f"{i.strategy if i.gpus > 1 else 'one GPU'}, mixed precision {i.mixed_precision}, gradient checkpointing "
        f"{'on' if i.gradient_checkpointing else 'off'}, micro-batch {i.micro_batch}, rollout batch {i.rollout_batch}, "
        f"trained: {i.trained}{' and vision tower' if i.train_vision else ''}, {i.visual_tokens} visual tokens per prompt. "
        f"Memory is planned for the longest sequences, with {h.headroom:.0%} left free."
    )
    yield (
        f"Questions at once: {plan.validation_rows} in a validation, {plan.evaluation_rows} in the evaluation (configured: "
        f"{i.evaluation_batch_size}), as many as the memory holds."
    )
    for part in ("rollout", "teacher"):
        if getattr(i, f"{part}_engine") == "server" and part not in i.server_gpus:
            yield f"The GPUs of the {part}'s vLLM server are not planned for: someone else runs it."
    if i.server_gpus:
        servers = " and ".join(f"{count} of {part} servers" for part, count in i.server_gpus.items())
        yield (
            f"The training needs {i.all_gpus} GPUs: {i.gpus + i.teacher_gpus} of its processes, {servers}. The memory of a server is the "
            "least that it starts with; vLLM fills the rest with its KV cache."
        )
    if i.overlaps:
        yield (
            "Staleness 1: the servers sample the next rollouts while a step scores and updates, so that it takes the longer time of both."
        )
    elif i.samples_ahead:
        yield (
            "Staleness 1 saves no time here: the training's own processes sample the next rollouts before they update. Servers "
            "(training.rollout.placement job or url) sample during the updates."
        )
    if i.rollout_engine == "inside" and i.rollout_sleeps:
        yield "vLLM sleeps between rollouts: its memory counts in the phases rollout and validation."


def _verdict(plan: Plan, console: Console) -> None:
    kind, phase, size = plan.peak
    where = f"{_gib(size)} of {_gib(plan.limit)} GiB in the phase {phase} (GPU of the {kind})"
    if plan.fits:
        console.print(f"The run fits. Peak: {where}.", style="bold green", highlight=False, soft_wrap=True)
        return
    console.print(f"The run does not fit. Peak: {where}.", style="bold red", highlight=False, soft_wrap=True)
    table = _table("Effect of single changes", "setting", "saves, GiB", "fits", "cost")
    for suggestion in plan.suggestions:
        fits = "yes" if suggestion.fits else "no"
        different = " (changes the student)" if suggestion.change.alters else ""
        table.add_row(_set(suggestion.change), _gib(suggestion.saves), fits, suggestion.change.price + different)
    console.print(table)
    if plan.way_to_fit is None:
        console.print("No combination of these changes fits. Use a smaller model, shorter sequences or larger GPUs.")
        return
    console.print("The run fits with all of these settings together:", style="bold")
    console.print(f"  {' '.join(_arguments(plan.way_to_fit))}", soft_wrap=True)


def _arguments(changes: Sequence[Change]) -> list[str]:
    # A separate teacher names the number of all GPUs.
    separate = any(change.field == "teacher_gpus" for change in changes)
    return [_set(change) for change in changes if not (separate and change.field == "gpus")]


def _set(change: Change) -> str:
    return setting(change.field, change.value)


def _gib(size: int) -> str:
    return f"{size / _GIB:,.1f}" if size >= _GIB / 20 else f"{size / _GIB:,.3f}"
