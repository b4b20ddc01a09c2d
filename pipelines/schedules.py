"""The command ``vicur schedules``: list, pause, resume and delete recurring runs. kfp is imported only when it runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from vicur_pipelines.submit.options import CaCertOption, EndpointOption, NamespaceOption, TokenOption

from vicur.commands.common import Commands, examples, help_with_examples

if TYPE_CHECKING:
    from kfp_server_api import V2beta1RecurringRun
    from vicur_pipelines.submit.server import Server

app = Commands(
    help=help_with_examples(
        "List, pause, resume or delete recurring runs. 'vicur submit --schedule' creates them.",
        "vicur schedules list",
        "vicur schedules pause vicur-cluster-20261130",
    ),
    no_args_is_help=True,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the schedule.", show_default=False)]


@app.command("list")
@examples("vicur schedules list", "vicur schedules list --json")
def list_schedules(
    as_json: Annotated[bool, typer.Option("--json", help="Print the schedules as JSON.")] = False,
    endpoint: EndpointOption = None,
    namespace: NamespaceOption = None,
    token: TokenOption = None,
    ca_cert: CaCertOption = None,
) -> None:
    """List the recurring runs: name, state, schedule and id."""
    from vicur_pipelines.submit.schedule import schedules

    rows = [_row(each) for each in schedules(_connect(endpoint, namespace, token, ca_cert))]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        typer.echo("\n".join("  ".join(row.values()) for row in rows) or "There are no schedules.")


@app.command()
@examples("vicur schedules pause vicur-cluster-20261130")
def pause(
    name: NameArgument,
    endpoint: EndpointOption = None,
    namespace: NamespaceOption = None,
    token: TokenOption = None,
    ca_cert: CaCertOption = None,
) -> None:
    """Start no further runs of a schedule. A run that is under way continues."""
    from vicur_pipelines.submit import schedule

    server = _connect(endpoint, namespace, token, ca_cert)
    schedule.pause(server, server.known(schedule.find(server, name).recurring_run_id))
    typer.echo(f"Paused {name}. Continue it: vicur schedules resume {name}")


@app.command()
@examples("vicur schedules resume vicur-cluster-20261130")
def resume(
    name: NameArgument,
    endpoint: EndpointOption = None,
    namespace: NamespaceOption = None,
    token: TokenOption = None,
    ca_cert: CaCertOption = None,
) -> None:
    """Continue a paused schedule with its next time. Times that have passed meanwhile are not made up for."""
    from vicur_pipelines.submit import schedule

    server = _connect(endpoint, namespace, token, ca_cert)
    schedule.resume(server, server.known(schedule.find(server, name).recurring_run_id))
    typer.echo(f"Resumed {name}.")


@app.command()
@examples("vicur schedules delete vicur-cluster-20261130")
def delete(
    name: NameArgument,
    endpoint: EndpointOption = None,
    namespace: NamespaceOption = None,
    token: TokenOption = None,
    ca_cert: CaCertOption = None,
) -> None:
    """Delete a schedule. Its runs, also one that is under way, are kept.

    The UI and kfp delete the workflow of a run that is under way, too, and that run stays CANCELING.
    """
    from vicur_pipelines.submit import schedule

    server = _connect(endpoint, namespace, token, ca_cert)
    identifier = server.known(schedule.find(server, name).recurring_run_id)
    running = schedule.running(server, identifier)
    schedule.delete(server, identifier)
    typer.echo(f"Deleted {name}. Its runs are kept.")
    for run_id in running:
        typer.echo(
            f"Run {run_id} of it is under way and should continue. If it stays CANCELING, the server has deleted its workflow: start it "
            f"again. Follow it: vicur submit --follow {run_id}"
        )


def _connect(endpoint: str | None, namespace: str | None, token: str | None, ca_cert: str | None) -> Server:
    from vicur_pipelines.submit.server import connect

    return connect(endpoint, namespace, token, ca_cert)


def _row(recurring: V2beta1RecurringRun) -> dict[str, str]:
    cron = recurring.trigger.cron_schedule if recurring.trigger else None
    return {
        "name": str(recurring.display_name),
        "state": "paused" if recurring.status == "DISABLED" else "active",
        "schedule": str(cron.cron) if cron else "periodic",
        "id": str(recurring.recurring_run_id),
    }
