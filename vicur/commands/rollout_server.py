"""``vicur rollout-server``: run vLLM for a training on other devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration, examples


@examples(
    "CUDA_VISIBLE_DEVICES=1 vicur rollout-server --config run.yaml --port 8000",
    "vicur rollout-server --teacher --config run.yaml --port 8001",
    "vicur rollout-server --method opsd -- --gpu-memory-utilization 0.8",
)
def rollout_server(
    method: Annotated[str, typer.Option("--method", "-m", help="Method of the training.")] = "vicur",
    teacher: Annotated[
        bool,
        typer.Option("--teacher", help="Score with the teacher's weights instead of sampling with the student's."),
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", help="Folder or address of the base model, or 'tiny'. Default: base.path of the configuration."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Host to bind to. Anyone who can connect can change the server's weights.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to bind to.", min=1, max=65535)] = 8000,
    extra: Annotated[
        list[str] | None, typer.Argument(help="After --, more arguments of vllm serve.", metavar="[-- ...]")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Run vLLM as the rollout engine of a training on other devices.

    Pass the configuration and settings of the training. The server starts without weights and gets them from the training, which finds
    it through training.rollout.engine (docs/rollouts.md). With --teacher it loads the teacher's weights, for training.teacher.engine.
    If VLLM_API_KEY is set, here and for the training, the server requires that key. It ends at SIGTERM or Ctrl-C.
    """
    from vicur.training.rollout.serve import serve
    from vicur.weights import staged

    settings = configuration(config, overrides, {"methods": ("--method", [method]), "base.path": ("--base", base)})
    section = settings.training.for_method(method)
    folder: Path = staged(settings.base.path)
    # A self-frozen teacher is the base.
    scored = staged(section.model_paths().get("teacher", settings.base.path)) if teacher else None
    raise typer.Exit(serve(section, folder, host, port, extra or (), teacher=scored))
