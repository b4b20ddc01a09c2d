"""Follows a run until it has ended, and says how it truly did.

``kfp run create --watch`` exits with 0 whatever became of the run, and the SDK's own waiting never ends for one that was canceled.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from vicur_pipelines.live import LiveView, PlainView, view_of
from vicur_pipelines.progress import Progress
from vicur_pipelines.submit.packaged import step_names
from vicur_pipelines.submit.server import Server
from vicur_pipelines.submit.tasks import TaskStates

from vicur.errors import VicurError
from vicur.redaction import redacted

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

PATIENCE_SECONDS = 900.0
"""How long a server may stay away while a run is followed."""
_FINAL = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        state: the server's word for it: ``SUCCEEDED``, ``FAILED``, ``SKIPPED`` or ``CANCELED``.
        message: what the server says of a failure; may be empty.
        failed: the steps that failed.
    """

    state: str
    message: str
    failed: tuple[str, ...]


def follow(server: Server, run_id: str, console: Console, poll: float) -> Ending:
    """Shows a run's steps until it has ended.

    A server that goes away is asked again for a quarter of an hour.

    Args:
        server: where it runs.
        run_id: which.
        console: where to show it.
        poll: seconds between two looks.

    Raises:
        VicurError: where there is no such run, the token has expired, or the server stays away. The run itself goes on.
    """
    run = _look(server, run_id)
    names = step_names(_spec(server, run))
    states, progress = TaskStates(names), Progress(names)
    canceling = False
    with view_of(progress, console) as view:
        while True:
            _show(run, states, progress, view)
            # A run that was terminated ends as FAILED: that it was is told in between alone.
            canceling = canceling or run.state == "CANCELING"
            if run.state in _FINAL:
                break
            time.sleep(poll)
            run = _look_again(server, run_id, console, poll)
    state = "CANCELED" if canceling and run.state == "FAILED" else str(run.state)
    message = run.error.message if run.error is not None and run.error.message else ""
    return Ending(state, redacted(message), tuple(step.name for step in progress.failed))


def _show(run: V2beta1Run, states: TaskStates, progress: Progress, view: LiveView | PlainView) -> None:
    events = states.news((run.run_details.task_details or ()) if run.run_details else ())
    for event in events:
        progress.expect(event.stage)
    view.follow(events)


def _look(server: Server, run_id: str) -> V2beta1Run:
    import kfp_server_api

    run = server.call(kfp_server_api.RunServiceApi(server.api).run_service_get_run, run_id)
    server.known(run.run_id)
    return run


def _look_again(server: Server, run_id: str, console: Console, poll: float) -> V2beta1Run:
    """Looks until the server answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    told = False
    while True:
        try:
            return _look(server, run_id)
        except VicurError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise VicurError(
                    f"{error.problem.rstrip('.')}. The run goes on.",
                    where=error.where,
                    remedy=f"{error.remedy} Then: vicur submit --follow {run_id}",
                ) from error
            if not told:
                console.print(f"{error.problem} Asking again.", style="yellow", markup=False, soft_wrap=True)
            told = True
            time.sleep(poll)


def _spec(server: Server, run: V2beta1Run) -> dict:
    """The pipeline spec of a run: its own, or that of the version that it was started from."""
    import kfp_server_api

    spec, reference = run.pipeline_spec, run.pipeline_version_reference
    if spec is None and reference is not None:
        version = server.call(
            kfp_server_api.PipelineServiceApi(server.api).pipeline_service_get_pipeline_version,
            reference.pipeline_id,
            reference.pipeline_version_id,
        )
        spec = version.pipeline_spec
    # A package with settings of Kubernetes comes as a pair.
    return (spec or {}).get("pipeline_spec") or spec or {}
