"""Running and last runs, from Kubeflow Pipelines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vicur_pipelines.status.report import RunRow
from vicur_pipelines.submit.follow import final_state, get_run, is_final, package_of
from vicur_pipelines.submit.server import Server
from vicur_pipelines.submit.tasks import TaskStates, seconds_of

from vicur.errors import VicurError

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

_PAGE = 100


def latest_runs(server: Server, count: int) -> list[RunRow]:
    """Return the runs that are under way and the last ``count`` others, newest first."""
    import kfp_server_api

    space = {"namespace": server.namespace} if server.namespace else {}
    listed = server.call(
        kfp_server_api.RunServiceApi(server.api).run_service_list_runs,
        page_size=_PAGE,
        sort_by="created_at desc",
        **space,
    )
    runs = list(listed.runs or ())
    ended = [run for run in runs if is_final(run)][:count]
    return [_row(server, run) for run in runs if not is_final(run) or run in ended]


def _row(server: Server, run: V2beta1Run) -> RunRow:
    final = is_final(run)
    began, ended = seconds_of(run.created_at), seconds_of(run.finished_at) if final else datetime.now(UTC).timestamp()
    return RunRow(
        run_id=str(run.run_id),
        name=str(run.display_name),
        state=final_state(run) if final else str(run.state or "PENDING"),
        created=f"{run.created_at:%Y-%m-%d %H:%M}" if began is not None else "",
        seconds=None if began is None or ended is None else max(0.0, ended - began),
        steps=() if final else _running_steps(server, str(run.run_id)),
        schedule=bool(run.recurring_run_id),
        address=server.run_url(str(run.run_id)),
    )


def _running_steps(server: Server, run_id: str) -> tuple[str, ...]:
    try:
        # A list of runs may lack their tasks.
        run = get_run(server, run_id)
        package = package_of(server, run)
    except VicurError:
        # The version of a run may have been deleted.
        return ()
    states = TaskStates(package.steps, package.methods)
    events = states.update((run.run_details.task_details or ()) if run.run_details else ())
    return tuple(event.stage for event in events if event.status == "started")
