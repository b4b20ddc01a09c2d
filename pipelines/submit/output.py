"""Follow or terminate a run on behalf of a command: print what happens, and return the exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from vicur_pipelines.submit.follow import Ending
    from vicur_pipelines.submit.server import Server

TERMINATED = 3
"""Exit status of a run that was terminated."""
INTERRUPTED = 130
"""Exit status after Ctrl-C. The run continues."""


def follow_run(server: Server, run_id: str, console: Console, every: float) -> int:
    """Follow a run and return the exit status for its end."""
    from vicur_pipelines.submit.follow import follow

    try:
        ending = follow(server, run_id, console, every)
    except KeyboardInterrupt:
        typer.echo(
            f"\nThe run continues. Follow it: vicur submit --follow {run_id}\n"
            f"Terminate it: vicur submit --terminate {run_id}"
        )
        return INTERRUPTED
    _print_end(server, run_id, ending)
    return {"SUCCEEDED": 0, "CANCELED": TERMINATED}.get(ending.state, 1)


def terminate_run(server: Server, run_id: str) -> None:
    """Terminate a run and print what still runs of it."""
    from vicur_pipelines.submit.follow import get_run
    from vicur_pipelines.submit.start import terminate
    from vicur_pipelines.submit.tasks import has_exit_step

    run = get_run(server, run_id)
    terminate(server, run_id)
    details = (run.run_details.task_details or ()) if run.run_details else ()
    if has_exit_step(details):
        typer.echo(
            f"Run {run_id} is being terminated; its exit step still runs.\nFollow it: vicur submit --follow {run_id}"
        )
    else:
        typer.echo(f"Run {run_id} is being terminated. None of its steps has started, so it has no exit step either.")


def _print_end(server: Server, run_id: str, ending: Ending) -> None:
    states = {"SUCCEEDED": "has succeeded", "FAILED": "has failed", "CANCELED": "was terminated"}
    failed = ", ".join(step.label for step in ending.failed)
    steps = f" in {failed}" if failed and ending.state != "SUCCEEDED" else ""
    typer.echo(f"Run {run_id} {states.get(ending.state, 'was skipped')}{steps}: {server.run_url(run_id)}")
    if ending.unknown:
        typer.echo(
            f"The server did not report the end of {', '.join(ending.unknown)}: it stops reporting steps above 1 MiB of workflow status. "
            "The run's own state, above, is right."
        )
    if ending.state == "FAILED":
        from vicur_pipelines.submit.why import reasons

        typer.echo("\n".join(reasons(server, run_id, ending)))
