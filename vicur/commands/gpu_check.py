"""``vicur gpu-check``: the acceptance test of a machine with GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vicur.commands.common import examples
from vicur.config.gpu_check import SECONDS, default_shapes

FAILED = 1
"""Exit status if a check has failed, or none could be made."""


@examples(
    "vicur gpu-check",
    "vicur gpu-check --shape 2b --shape 8b -o checks/node-7",
    "vicur gpu-check --device cpu --shape tiny",
    "vicur gpu-check --only bf16 --only measure --shape 2b",
)
def gpu_check(
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option("--device", help="Device to check. auto: the GPUs if there are some."),
    ] = "auto",
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            help="Model to measure: tiny, or the shape of a published size (2b, 4b, 8b, 32b) with random weights. Repeatable. Default: 2b "
            "and 8b on GPUs, tiny on a CPU.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="Check to make: float32, bf16, ddp, fsdp, separate, resume, vllm, measure. Repeatable. Default: all.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, help="Time limit. Checks that do not fit into it are not made.")
    ] = SECONDS,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for gpu-check.json and gpu-check.html.")
    ] = Path(),
) -> None:
    """Check in nine minutes whether a machine trains correctly, and measure how fast. Nothing is downloaded.

    Checks bf16 and float32 against the CPU, DDP and FSDP2 (NCCL on GPUs, gloo on a CPU) against one process, a teacher on another GPU,
    resuming after SIGKILL, and vLLM's weights and log-probabilities if it is installed. Measures a step of vicur with hints of 2,048 and
    responses of 1,024 tokens: seconds by phase, tokens per second, MFU, and peak memory next to its plan.

    What this machine cannot do is reported as not checked, with the reason. 'vicur plan --calibration gpu-check.json' computes times from
    the measured speeds.

    Exit status: 0 if all checks that were made have passed, 1 if one failed or none could be made, 2 for invalid input.
    """
    from rich.console import Console

    from vicur.gpu_check import Options, run_checks, show_report, show_result, write_report
    from vicur.modeling.device import resolve_device

    console = Console()
    chosen = resolve_device(device, "--device")
    options = Options(chosen, tuple(shape or default_shapes(chosen)), tuple(only or ()), seconds)
    report = run_checks(options, lambda result: show_result(result, console))
    show_report(report, console)
    for path in write_report(report, output):
        console.print(f"Wrote {path}", highlight=False, soft_wrap=True)
    if not report.passed:
        raise typer.Exit(FAILED)
