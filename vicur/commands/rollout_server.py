"""``vicur rollout-server``: vLLM for the rollouts of a training that runs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration


def rollout_server(
    method: Annotated[str, typer.Option("--method", "-m", help="The training's method.")] = "vicur",
    teacher: Annotated[
        bool,
        typer.Option(
            "--teacher", help="Score for the teacher, with its weights, rather than draw rollouts with the student's."
        ),
    ] = False,
    base: Annotated[
        str | None, typer.Option("--base", help="Folder of the base model, or 'tiny'; the configuration's if left out.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen. Whoever reaches it can change its weights.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.", min=1, max=65535)] = 8000,
    extra: Annotated[
        list[str] | None, typer.Argument(help="After --, more arguments of vllm serve.", metavar="[-- ...]")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Start vLLM as the rollout engine of a training on other devices.

    It is given the training's own settings and waits, without weights, for those of the training, which names it in
    training.rollout.engine (docs/rollouts.md). With --teacher it loads the teacher's own, for training.teacher.engine.
    With VLLM_API_KEY set here and for the training, it asks for that key. It ends when it is told to (SIGTERM, Ctrl-C).

    [bold]Examples[/bold]

      CUDA_VISIBLE_DEVICES=1 vicur rollout-server --config run.yaml --port 8000

      vicur rollout-server --teacher --config run.yaml --port 8001

      vicur rollout-server --method opsd -- --gpu-memory-utilization 0.8
    """
    from vicur.training.rollout.serve import serve

    settings = configuration(config, overrides, {"methods": ("--method", [method]), "base.path": ("--base", base)})
    folder: Path = settings.base.folder
    section = settings.training.for_method(method)
    if teacher:
        folder = section.inputs().get("teacher", folder)
    raise typer.Exit(serve(section, folder, host, port, extra or (), teacher=teacher))
