"""``vicur plan``: what a training takes, before it is started."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration

DOES_NOT_FIT = 3
"""Exit status if the plan does not fit."""
_PLACES = {
    "gpus": "--gpus",
    "teacher_gpus": "--teacher-gpus",
    "examples": "--examples",
    "hardware.gpu_memory": "--gpu-memory",
    "hardware.peak_tflops": "--peak-tflops",
    "hardware.utilisation": "--utilisation",
    "hardware.bandwidth": "--bandwidth",
}


def plan(
    config: ConfigOption = None,
    overrides: SetOption = None,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="Which method; the configuration's last if left out.")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="GPUs of the student.")] = 1,
    teacher_gpus: Annotated[
        int, typer.Option("--teacher-gpus", min=0, help="GPUs of the teacher alone; 0 puts it beside the student.")
    ] = 0,
    gpu_memory: Annotated[float, typer.Option("--gpu-memory", help="Memory of a GPU, GiB.")] = 80.0,
    peak_tflops: Annotated[
        float,
        typer.Option("--peak-tflops", help="Dense bfloat16 peak of a GPU, 10^12 operations a second (H100, H200)."),
    ] = 989.0,
    utilisation: Annotated[
        float, typer.Option("--utilisation", help="Share of the peak that forward, backward and scoring reach.")
    ] = 0.4,
    bandwidth: Annotated[
        float, typer.Option("--bandwidth", help="Memory bandwidth of a GPU, TB/s (H100; H200 has 4.8, A100 2.04).")
    ] = 3.35,
    examples: Annotated[
        int | None,
        typer.Option("--examples", min=1, help="Examples to distil on, where the configuration does not say."),
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(
            "--assume",
            metavar="FIELD=VALUE",
            help="Any other assumption: a field of PlanInput or hardware.FIELD (docs/planning.md lists them).",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the plan as JSON too.")
    ] = None,
) -> None:
    """Say what a training takes of each GPU, how long it runs, and what to change where it does not fit.

    Nothing is loaded, downloaded or trained: parameters are counted on the meta device, activations with tensors that have no data. The
    base model need not be on this machine if its name holds a published size.

    Exit status: 0 where it fits, 3 where it does not, 2 for wrong input.

    [bold]Examples[/bold]

      vicur plan --config configs/qwen3-vl-8b.yaml --gpus 8 --gpu-memory 80

      vicur plan --config configs/qwen3-vl-8b.yaml --gpus 4 --teacher-gpus 4 --gpu-memory 141 --bandwidth 4.8

      vicur plan --set base.path=2B --gpus 2 --set training.mixed_precision=bf16 --assume image_tokens=64 --json plan.json
    """
    import json

    from rich.console import Console

    from vicur.config.loading import overridden, read_overrides
    from vicur.config.methods import MethodName
    from vicur.config.sources import Sources
    from vicur.config.validation import validated
    from vicur.planning import make_plan, plan_input, plan_record, show_plan

    settings = configuration(config, overrides)
    named: MethodName = validated(MethodName, method or settings.methods[-1], "--method")
    hardware = {
        "gpu_memory": gpu_memory,
        "peak_tflops": peak_tflops,
        "utilisation": utilisation,
        "bandwidth": bandwidth,
    }
    given: dict[str, Any] = {"gpus": gpus, "teacher_gpus": teacher_gpus, "hardware": hardware}
    if examples is not None:
        given["examples"] = examples
    sources = Sources("vicur plan", overrides={**_PLACES, **overridden(assume or (), "--assume")})
    assumed = read_overrides(assume or (), given, "--assume")
    made = make_plan(plan_input(settings, named, assumed=assumed, where=sources))
    show_plan(made, Console())
    if json_file is not None:
        json_file.write_text(json.dumps(plan_record(made), indent=1) + "\n", encoding="utf-8")
    if not made.fits:
        raise typer.Exit(DOES_NOT_FIT)
