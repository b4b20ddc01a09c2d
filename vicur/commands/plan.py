"""``vicur plan``: estimate memory and time of a training run before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration, examples, write_text

DOES_NOT_FIT = 3
"""Exit status if the run does not fit."""
# Options of the inputs, for error messages.
_PLACES = {
    "gpus": "--gpus",
    "teacher_gpus": "--teacher-gpus",
    "examples": "--examples",
    "hardware.gpu_memory": "--gpu-memory",
    "hardware.peak_tflops": "--peak-tflops",
    "hardware.utilisation": "--utilisation",
    "hardware.bandwidth": "--bandwidth",
}


@examples(
    "vicur plan --config configs/qwen3-vl-8b.yaml --gpus 8 --gpu-memory 80",
    "vicur plan --config configs/qwen3-vl-8b.yaml --gpus 4 --teacher-gpus 4 --gpu-memory 141 --bandwidth 4.8",
    "vicur plan --set base.path=2B --gpus 2 --set training.mixed_precision=bf16 --assume image_tokens=64 --json plan.json",
)
def plan(
    config: ConfigOption = None,
    overrides: SetOption = None,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="Method to plan for. Default: the last of the configuration.")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="Number of GPUs for the student.")] = 1,
    teacher_gpus: Annotated[
        int,
        typer.Option(
            "--teacher-gpus", min=0, help="Number of GPUs for the teacher only, as --gpus; 0: on the student's GPUs."
        ),
    ] = 0,
    gpu_memory: Annotated[float, typer.Option("--gpu-memory", help="Memory of one GPU in GiB.")] = 80.0,
    peak_tflops: Annotated[
        float,
        typer.Option("--peak-tflops", help="Dense bfloat16 peak of one GPU in TFLOPS (default: H100, H200)."),
    ] = 989.0,
    utilisation: Annotated[
        float, typer.Option("--utilisation", help="Share of the peak that training, scoring and prefill reach.")
    ] = 0.4,
    bandwidth: Annotated[
        float,
        typer.Option("--bandwidth", help="Memory bandwidth of one GPU in TB/s (default: H100; H200: 4.8, A100: 2.04)."),
    ] = 3.35,
    examples: Annotated[
        int | None,
        typer.Option("--examples", min=1, help="Number of training examples, if the configuration does not say."),
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(
            "--assume",
            metavar="FIELD=VALUE",
            help="Set any other assumption, e.g. image_tokens=64 or hardware.headroom=0.2 (see docs/planning.md). Repeatable.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the plan as JSON.")
    ] = None,
) -> None:
    """Estimate the memory of each GPU and the time of a training run, and suggest settings that make it fit.

    Nothing is loaded, downloaded or trained: parameters are counted on PyTorch's meta device, activations on tensors without data. The
    base model does not have to be on this machine if the name of its folder contains a published size (2B, 4B, 8B or 32B).

    Exit status: 0 if the run fits, 3 if it does not, 2 for invalid input.
    """
    import json

    from rich.console import Console

    from vicur.config.loading import overridden, read_overrides
    from vicur.config.methods import MethodName
    from vicur.config.sources import Sources
    from vicur.config.validation import validated
    from vicur.planning import make_plan, plan_input, plan_record, show_plan

    settings = configuration(config, overrides)
    name: MethodName = validated(MethodName, method or settings.methods[-1], "--method")
    hardware = {
        "gpu_memory": gpu_memory,
        "peak_tflops": peak_tflops,
        "utilisation": utilisation,
        "bandwidth": bandwidth,
    }
    options: dict[str, Any] = {"gpus": gpus, "teacher_gpus": teacher_gpus, "hardware": hardware}
    if examples is not None:
        options["examples"] = examples
    # --assume wins over the other options.
    sources = Sources("vicur plan", overrides={**_PLACES, **overridden(assume or (), "--assume")})
    assumed = read_overrides(assume or (), options, "--assume")
    result = make_plan(plan_input(settings, name, assumed=assumed, where=sources))
    show_plan(result, Console())
    if json_file is not None:
        write_text(json_file, json.dumps(plan_record(result), indent=1) + "\n", "--json")
    if not result.fits:
        raise typer.Exit(DOES_NOT_FIT)
