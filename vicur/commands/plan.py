"""``vicur plan``: estimate the memory of a run before it starts, and its time on a machine that was measured."""

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
    "hardware.bandwidth": "--bandwidth",
}


@examples(
    "vicur plan --config configs/qwen3-vl-8b.yaml --gpus 8 --gpu-memory 80",
    "vicur plan --config configs/qwen3-vl-8b.yaml --gpus 8 --set training.distribution.teacher_devices=separate --gpu-memory 141",
    "vicur plan --config configs/qwen3-vl-2b.yaml --gpus 8 --calibration gpu-check.json",
    "vicur plan --set base.path=2B --gpus 2 --set training.mixed_precision=bf16 --assume image_tokens=64 --json plan.json",
)
def plan(
    config: ConfigOption = None,
    overrides: SetOption = None,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="Method to plan for. Default: the last of the configuration.")
    ] = None,
    gpus: Annotated[
        int,
        typer.Option(
            "--gpus",
            min=1,
            help="Number of GPUs of the training's processes. With training.distribution.teacher_devices=separate, one half of them is the "
            "teacher's. Servers with placement job have GPUs in addition.",
        ),
    ] = 1,
    teacher_gpus: Annotated[
        int,
        typer.Option("--teacher-gpus", min=0, help="Number of additional GPUs for the teacher only, as --gpus."),
    ] = 0,
    gpu_memory: Annotated[float, typer.Option("--gpu-memory", help="Memory of one GPU in GiB.")] = 80.0,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FILE",
            help="gpu-check.json of 'vicur gpu-check' on the GPU of the run: show times, computed from its speeds.",
        ),
    ] = None,
    bandwidth: Annotated[
        float,
        typer.Option(
            "--bandwidth", help="Memory bandwidth of one GPU in TB/s, for times (default: H100; H200: 4.8, A100: 2.04)."
        ),
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
    """Estimate the memory of each GPU in all phases of a run, and suggest settings that make it fit.

    Phases: loading, rollout, teacher scoring, update, validation, and the evaluation on one GPU. Times are shown only for a machine that
    'vicur gpu-check' has measured (--calibration).

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
    from vicur.planning.calibration import read_calibration

    settings = configuration(config, overrides)
    name: MethodName = validated(MethodName, method or settings.methods[-1], "--method")
    hardware: dict[str, Any] = {"gpu_memory": gpu_memory, "bandwidth": bandwidth}
    if calibration is not None:
        hardware |= read_calibration(calibration, "--calibration").hardware()
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
