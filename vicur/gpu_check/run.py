"""Run the checks of a machine in separate processes, within a time limit, and judge the measurements."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from vicur.config.gpu_check import SECONDS
from vicur.errors import VicurError
from vicur.gpu_check.case import Case
from vicur.gpu_check.checks import TITLES
from vicur.gpu_check.machine import Machine, machine_of
from vicur.gpu_check.measurement import Measurement, calibration_of, judged
from vicur.gpu_check.models import SHAPES, save_random
from vicur.gpu_check.processes import in_processes
from vicur.planning import make_plan
from vicur.planning.architecture import published_sizes
from vicur.wording import did_you_mean

Status = Literal["passed", "failed", "not checked"]
OnResult = Callable[["Result"], None]

# Measurements use what is left of the time. A published size takes about this long to build, load and step.
_MEASUREMENT_SECONDS = 150.0
# Weights that a CPU draws in a second, and bytes of each, in bfloat16.
_DRAWN_ON_CPU = 5e7
_BYTES = 2
# Share of a GPU's free memory for weights that are drawn on it. A layer is drawn in float32.
_ROOM = 0.8
_BF16: dict[str, Any] = {"mixed_precision": "bf16", "gradient_checkpointing": True, "micro_batch_size": 4}


@dataclass(frozen=True)
class Options:
    """What to check.

    Attributes:
        shapes: models to measure: ``tiny``, or published sizes such as ``2b``.
        only: names of the checks to run; by default all.
        seconds: time limit for everything.
    """

    device: Literal["cpu", "cuda"]
    shapes: tuple[str, ...]
    only: tuple[str, ...] = ()
    seconds: float = SECONDS


@dataclass(frozen=True)
class Result:
    """The outcome of a check."""

    name: str
    title: str
    status: Status
    detail: str
    took: float = 0.0  # seconds
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """The outcomes of all checks of a machine."""

    machine: Machine
    results: list[Result]
    measurements: list[Measurement]
    calibration: dict[str, Any] | None
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether no check failed and at least one passed."""
        statuses = [result.status for result in self.results]
        return "failed" not in statuses and "passed" in statuses


def run_checks(options: Options, on_result: OnResult = lambda _: None) -> Report:
    """Check this machine.

    Args:
        on_result: called with each outcome, as soon as it is known.

    Raises:
        VicurError: if an option names no check or shape.
    """
    chosen = _chosen(options)
    started = time.monotonic()
    deadline = started + options.seconds
    results: list[Result] = []
    measurements: list[Measurement] = []
    machine = machine_of(options.device)

    def add(result: Result) -> None:
        results.append(result)
        on_result(result)

    with tempfile.TemporaryDirectory(prefix="vicur-gpu-check-") as folder:
        root = Path(folder)
        for record in in_processes(chosen, {"device": options.device}, root, deadline):
            add(_result(record))
        for shape in options.shapes if not options.only or "measure" in options.only else ():
            result, measured = _measured(shape, options, machine, root / shape, deadline)
            measurements += measured
            add(result)
    return Report(machine, results, measurements, calibration_of(measurements, machine), time.monotonic() - started)


def _chosen(options: Options) -> list[str]:
    """The names of the checks to make, besides measurements."""
    checks = [*TITLES, "measure"]
    for option, given, known in (("--only", options.only, checks), ("--shape", options.shapes, SHAPES)):
        for name in given:
            if name not in known:
                guess = did_you_mean(name, known)
                raise VicurError(f"{name!r} is unknown.{guess}", where=option, remedy=f"Choose of {', '.join(known)}.")
    return [name for name in TITLES if not options.only or name in options.only]


def _result(record: dict[str, Any]) -> Result:
    name = record["name"]
    return Result(
        name, TITLES[name], record["status"], record["detail"], record.get("took", 0.0), record.get("values", {})
    )


def _measured(
    shape: str, options: Options, machine: Machine, folder: Path, deadline: float
) -> tuple[Result, list[Measurement]]:
    name, title = f"measure-{shape}", f"A step of {shape}"

    def skipped(reason: str) -> tuple[Result, list[Measurement]]:
        return Result(name, title, "not checked", reason), []

    case, reason = _case(shape, options.device, machine, folder)
    if reason is not None:
        return skipped(reason)
    parameters = published_sizes().get(shape.upper(), 0)
    drawn_on = _device_for(_BYTES * parameters, case.device)
    seconds = _MEASUREMENT_SECONDS + (parameters / _DRAWN_ON_CPU if drawn_on != case.device else 0)
    if parameters and deadline - time.monotonic() < seconds:
        return skipped(f"too little time is left: it takes about {seconds:.0f} s")
    # Twice while the weights are written.
    needed = 2 * _BYTES * parameters
    if shutil.disk_usage(tempfile.gettempdir()).free < needed:
        return skipped(f"needs {needed / 1e9:.0f} GB of disk in {tempfile.gettempdir()}")
    started = time.monotonic()
    dtype = torch.bfloat16 if case.device == "cuda" else torch.float32
    try:
        save_random(folder, shape, drawn_on, dtype, case.prompt + case.response + 1)
    # Too little memory, a full disk, a fault of the GPU: the other checks and shapes go on.
    except (VicurError, OSError, RuntimeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = str(error).partition("\n")[0]
        return Result(name, title, "failed", f"its weights cannot be built: {reason}", time.monotonic() - started), []
    if case.device == "cuda":
        torch.cuda.empty_cache()
    settings = {"device": case.device, "case": case.model_dump(mode="json")}
    (record,) = in_processes(["measure"], settings, folder / "run", deadline, case.processes)
    shutil.rmtree(folder, ignore_errors=True)
    took = time.monotonic() - started
    if record["status"] != "passed":
        return Result(name, title, record["status"], record["detail"], took), []
    measurement = Measurement.of(record["values"], machine)
    status, detail = judged(measurement)
    return Result(name, title, status, detail, took, record["values"]), [measurement]


def _device_for(size: int, device: Literal["cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """Return where to draw weights of ``size`` bytes: on the CPU if a GPU has no room for them."""
    if device == "cuda" and size > _ROOM * torch.cuda.mem_get_info()[0]:
        return "cpu"
    return device


def _case(shape: str, device: Literal["cpu", "cuda"], machine: Machine, folder: Path) -> tuple[Case, str | None]:
    """Return the measurement of a shape, and the reason why this machine cannot make it."""
    if shape.upper() not in published_sizes():
        small = {"prompt": 160, "response": 48, "image": 49, "rows": 4, "steps": 1, "validation": 4}
        return Case(shape=shape, folder=folder, device=device, **small), None
    processes = max(1, machine.count)
    training = {**_BF16, "distribution": {"strategy": "fsdp", "processes": processes}}
    case = Case(shape=shape, folder=folder, device=device, processes=processes, validation=8, training=training)
    if device == "cpu":
        return case, "needs a GPU"
    plan = make_plan(
        case.plan(student=shape.upper(), hardware={"gpu_memory": machine.memory / 2**30}, evaluation_batch_size=1)
    )
    kind, phase, size = plan.peak
    if not plan.fits:
        return case, f"does not fit: {size / 2**30:.0f} GiB in the phase {phase} (GPU of the {kind})"
    return case, None
