"""``vicur serve``: answers of a registered student behind an OpenAI-compatible API, by vLLM."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration
from vicur.errors import VicurError
from vicur.processes.server_process import require_free_port

if TYPE_CHECKING:
    from vicur.config.serving import ServerLimits
    from vicur_vllm import ServerCommand

_LOOPBACK = "127.0.0.1"
_KEPT = Path(".vicur/served")


def serve(
    model: Annotated[
        str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/NUMBER, or a folder.", show_default=False)
    ],
    extra: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENTS]", help="Further arguments of 'vllm serve'.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen; 0.0.0.0 on a cluster.")] = _LOOPBACK,
    port: Annotated[int, typer.Option("--port", help="Port to listen on.", min=1, max=65535)] = 8000,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What requests call the model; the registered model's or the folder's name."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=VALUE",
            help="Bound of requests; may be given several times: max_model_len, max_tokens, max_images, max_image_pixels, "
            "max_image_bytes, max_request_bytes, max_choices, max_requests.",
        ),
    ] = None,
    cache: Annotated[Path, typer.Option("--cache", help="Where fetched checkpoints are kept.")] = _KEPT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Fetch and check the checkpoint, print the command, and start nothing.")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Serve a student with vLLM.

    A registered version is fetched, checked against the checksum that its registration recorded, and kept. The server then takes this
    process's place: signals and exit status are its own. A key for clients is taken from VLLM_API_KEY.

    [bold]Examples[/bold]

      vicur serve models:/vicur-tiny@champion

      vicur serve models:/vicur-tiny/3 --port 8001 --limit max_images=1 --limit max_tokens=256

      vicur serve students/vicur --dry-run

      vicur serve models:/vicur-2b@champion --host 0.0.0.0 -- --dtype bfloat16 --gpu-memory-utilization 0.9
    """
    limits = _limits(limit or [])
    server_command = _server_command(starts=not dry_run)
    folder, called = _checkpoint(model, cache, config, overrides)
    command = server_command(folder, name or called, limits, host=host, port=port, extra=extra or [])
    typer.echo(str(command))
    if not dry_run:
        require_free_port(host, port, "vicur serve")
        # In this place, not below it: who stops this process stops the server, and gets its exit status.
        os.execve(command.words[0], list(command.words), {**os.environ, **command.environment})  # noqa: S606


def _limits(given: list[str]) -> ServerLimits:
    from vicur.config.serving import ServerLimits
    from vicur.config.validation import validated

    pairs = [text.partition("=") for text in given]
    wrong = next((name for name, equals, _ in pairs if not equals), None)
    if wrong is not None:
        raise VicurError(f"{wrong!r} has no value.", where="--limit", remedy="Write NAME=VALUE.")
    limits: ServerLimits = validated(ServerLimits, {name: value for name, _, value in pairs}, "--limit")
    return limits


def _server_command(*, starts: bool) -> Callable[..., ServerCommand]:
    """What makes the command, from vLLM's plugin; where it is to be started, vLLM has to be there too."""
    try:
        from vicur_vllm import require_version, server_command
    except ModuleNotFoundError as error:
        raise VicurError(
            "the plugin for vLLM is not installed (vicur-vllm).",
            where="vicur serve",
            remedy="Install vLLM and, from a checkout of this repository, the plugin: pip install 'vllm>=0.32,<0.33' ./serving",
        ) from error
    if starts:
        require_version()
    return server_command


def _checkpoint(model: str, cache: Path, config: Path | None, overrides: list[str] | None) -> tuple[Path, str]:
    """The folder to serve, and what the model is called."""
    if not model.startswith("models:"):
        folder = Path(model).absolute()
        return folder, folder.name
    from vicur.registry.checkpoints import fetch
    from vicur.tracking.mlflow import connect

    settings = configuration(config, overrides)
    kept = fetch(connect(settings.tracking), model, cache.absolute())
    done = "fetched" if kept.fetched else "kept"
    typer.echo(f"{kept.version}: {done}, and what was registered ({kept.folder.name[:12]})", err=True)
    return kept.folder, kept.version.model
