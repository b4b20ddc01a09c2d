"""``vicur serve``: serve a student with vLLM behind an OpenAI-compatible API."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration, examples
from vicur.errors import VicurError
from vicur.processes.server_process import require_free_port

if TYPE_CHECKING:
    from vicur.config.prompts import PixelBudget
    from vicur.config.serving import ServerLimits
    from vicur_vllm import ServerCommand

_LOOPBACK = "127.0.0.1"
_CACHE = Path(".vicur/served")


@examples(
    "vicur serve models:/vicur-tiny@champion",
    "vicur serve models:/vicur-tiny/3 --port 8001 --limit max_images=1 --limit max_tokens=256",
    "vicur serve students/vicur --dry-run",
    "vicur serve models:/vicur-2b@champion --max-pixels 1003520 --limit max_images=64 --limit max_model_len=32768 "
    "--limit max_request_bytes=268435456",
    "vicur serve models:/vicur-2b@champion --host 0.0.0.0 -- --dtype bfloat16 --gpu-memory-utilization 0.9",
)
def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="Student to serve: models:/NAME@ALIAS, models:/NAME/VERSION, or a checkpoint folder.",
            show_default=False,
        ),
    ],
    extra: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENTS]", help="Additional arguments for 'vllm serve'.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to bind to; 0.0.0.0 on a cluster.")] = _LOOPBACK,
    port: Annotated[int, typer.Option("--port", help="Port to listen on.", min=1, max=65535)] = 8000,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Model name in requests. Default: the name of the registered model or of the folder."
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=VALUE",
            help="Set a limit on requests: max_model_len, max_tokens, max_images, max_image_pixels, max_image_bytes, "
            "max_request_bytes, max_choices, max_requests or receive_seconds. Repeatable.",
        ),
    ] = None,
    min_pixels: Annotated[
        int | None,
        typer.Option(
            "--min-pixels", help="Smallest size of images in prompts. Default: that of the version's evaluation.", min=1
        ),
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            "--max-pixels", help="Largest size of images in prompts. Default: that of the version's evaluation.", min=1
        ),
    ] = None,
    cache: Annotated[Path, typer.Option("--cache", help="Folder that caches downloaded checkpoints.")] = _CACHE,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Download and check the checkpoint and print the command, without starting it."),
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Serve a student with vLLM.

    A registered version is downloaded to the cache and verified against the checksum in the registry. The server then replaces this
    process, so that it receives signals and sets the exit status. Set VLLM_API_KEY to require an API key from clients.
    """
    limits = _limits(limit or [])
    bounds = _bounds(min_pixels, max_pixels)
    server_command = _server_command(starts=not dry_run)
    folder, default_name, budget = _checkpoint(model, cache, config, overrides)
    # Both bounds are replaced, so that one of them cannot contradict the other of the evaluation.
    budget = bounds or budget
    command = server_command(
        folder, name or default_name, limits, host=host, port=port, extra=extra or [], budget=budget
    )
    typer.echo(str(command))
    if not dry_run:
        require_free_port(host, port, "vicur serve")
        # Replace this process instead of starting a child, so that signals reach the server and its exit status is ours.
        os.execve(command.words[0], list(command.words), {**os.environ, **command.environment})  # noqa: S606


def _limits(options: list[str]) -> ServerLimits:
    from vicur.config.loading import load_overrides
    from vicur.config.serving import ServerLimits

    return load_overrides(ServerLimits, options, "--limit")


def _bounds(smallest: int | None, largest: int | None) -> PixelBudget | None:
    """Return the sizes of images that the options set, if any."""
    from vicur.config.prompts import PixelBudget
    from vicur.config.sources import Sources
    from vicur.config.validation import validated

    if smallest is None and largest is None:
        return None
    sources = Sources("vicur serve", options={"min": "--min-pixels", "max": "--max-pixels"})
    budget: PixelBudget = validated(PixelBudget, {"min": smallest, "max": largest}, sources)
    return budget


def _server_command(*, starts: bool) -> Callable[..., ServerCommand]:
    try:
        from vicur_vllm import require_version, server_command
    except ModuleNotFoundError as error:
        raise VicurError(
            "the vLLM plugin vicur-vllm is not installed.",
            where="vicur serve",
            remedy="In a checkout of this repository, install vLLM and the plugin: pip install 'vllm>=0.32,<0.33' ./serving",
        ) from error
    # --dry-run prints the command on machines without vLLM, too.
    if starts:
        require_version()
    return server_command


def _checkpoint(
    model: str, cache: Path, config: Path | None, overrides: list[str] | None
) -> tuple[Path, str, PixelBudget]:
    """Return the folder to serve, the default name of the model, and the pixel budget of its evaluation."""
    settings = configuration(config, overrides)
    if not model.startswith("models:"):
        folder = Path(model).absolute()
        return folder, folder.name, settings.data.pixels.of("evaluation")
    from vicur.registry.checkpoints import fetch
    from vicur.registry.pixel_budget import budget_of
    from vicur.tracking.mlflow import connect

    checkpoint = fetch(connect(settings.tracking), model, cache.absolute())
    source = "downloaded" if checkpoint.fetched else "cached"
    typer.echo(
        f"{checkpoint.version}: {source} checkpoint matches the registered checksum ({checkpoint.folder.name[:12]})",
        err=True,
    )
    return checkpoint.folder, checkpoint.version.model, budget_of(checkpoint.version.tags, model)
