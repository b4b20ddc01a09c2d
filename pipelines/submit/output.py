"""Upload a package, add a schedule, follow or terminate a run on behalf of a command, and print what happens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from vicur_pipelines.submit.follow import Ending
    from vicur_pipelines.submit.packaged import Package
    from vicur_pipelines.submit.server import Server
    from vicur_pipelines.submit.versions import Version

TERMINATED = 3
"""Exit status of a run that was terminated."""
INTERRUPTED = 130
"""Exit status after Ctrl-C. The run continues."""


def upload_package(server: Server, package: Package) -> Version:
    """Upload a package unless the server has it."""
    from vicur_pipelines.submit.versions import upload

    version = upload(server, package)
    typer.echo(f"{package.pipeline} {package.version}: {'uploaded' if version.new else 'already on the server'}")
    return version


def add_schedule(
    server: Server,
    package: Package,
    values: Mapping[str, Any],
    experiment: str,
    cron: str,
    name: str | None,
    service_account: str | None,
) -> None:
    """Upload a package and create a recurring run of it."""
    from vicur_pipelines.submit.cron import next_times, parse_schedule
    from vicur_pipelines.submit.schedule import Recurring, create, require_name

    schedule, now = parse_schedule(cron), datetime.now(UTC)
    name = name or require_name(f"{package.pipeline.lower()[:16]}-{now:%Y%m%d}")
    version = upload_package(server, package)
    create(server, version, Recurring(name, schedule.cron, experiment, values, service_account))
    times = ", ".join(f"{time:%Y-%m-%d %H:%M}" for time in next_times(schedule, now, 3))
    typer.echo(f"Schedule {name} ({schedule.cron}): {server.page('recurringruns')}")
    typer.echo(f"Next times, in UTC unless the server has another time zone: {times}")
    if service_account is None:
        typer.echo("Its runs use the server's service account. Give --service-account if they need another one.")
    typer.echo(f"Pause it: vicur schedules pause {name}\nDelete it: vicur schedules delete {name}")


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
