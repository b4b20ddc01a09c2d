"""Follow a run until it has ended, and report its true state."""

# "kfp run create --watch" exits with 0 even if the run failed, and the SDK never stops waiting for a run that was canceled.

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

PATIENCE_SECONDS = 900.0  # that a server may be unreachable while a run is followed
_FINAL = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")


@dataclass(frozen=True)
class Ending:
    """The end of a run."""

    state: str  # SUCCEEDED, FAILED, SKIPPED or CANCELED
    message: str  # the server's description of a failure; may be empty
    failed: tuple[str, ...]  # labels of the steps that failed


def follow(server: Server, run_id: str, console: Console, poll: float) -> Ending:
    """Show the steps of a run until it has ended. An unreachable server is retried for a quarter of an hour.

    Raises:
        VicurError: if the run does not exist, the token has expired, or the server stays unreachable. The run itself continues.
    """
    run = _get_run(server, run_id)
    names = step_names(_spec(server, run))
    states, progress = TaskStates(names), Progress(names)
    canceling = False
    with view_of(progress, console) as view:
        while True:
            _show(run, states, progress, view)
            # A terminated run ends as FAILED. Only its intermediate state shows that it was terminated.
            canceling = canceling or run.state == "CANCELING"
            if run.state in _FINAL:
                break
            time.sleep(poll)
            run = _wait_for_run(server, run_id, console, poll)
    state = "CANCELED" if canceling and run.state == "FAILED" else str(run.state)
    message = run.error.message if run.error is not None and run.error.message else ""
    return Ending(state, redacted(message), tuple(step.name for step in progress.failed))


def _show(run: V2beta1Run, states: TaskStates, progress: Progress, view: LiveView | PlainView) -> None:
    events = states.update((run.run_details.task_details or ()) if run.run_details else ())
    for event in events:
        progress.expect(event.stage)
    view.follow(events)


def _get_run(server: Server, run_id: str) -> V2beta1Run:
    import kfp_server_api

    run = server.call(kfp_server_api.RunServiceApi(server.api).run_service_get_run, run_id)
    server.known(run.run_id)
    return run


def _wait_for_run(server: Server, run_id: str, console: Console, poll: float) -> V2beta1Run:
    deadline = time.monotonic() + PATIENCE_SECONDS
    warned = False
    while True:
        try:
            return _get_run(server, run_id)
        except VicurError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise VicurError(
                    f"{error.problem.rstrip('.')}. The run continues.",
                    where=error.where,
                    remedy=f"{error.remedy} Then: vicur submit --follow {run_id}",
                ) from error
            if not warned:
                console.print(f"{error.problem} Retrying.", style="yellow", markup=False, soft_wrap=True)
            warned = True
            time.sleep(poll)


def _spec(server: Server, run: V2beta1Run) -> dict:
    # Of the run itself, or of the version that it was started from.
    import kfp_server_api

    spec, reference = run.pipeline_spec, run.pipeline_version_reference
    if spec is None and reference is not None:
        version = server.call(
            kfp_server_api.PipelineServiceApi(server.api).pipeline_service_get_pipeline_version,
            reference.pipeline_id,
            reference.pipeline_version_id,
        )
        spec = version.pipeline_spec
    # A package with Kubernetes settings is a pair of documents.
    return (spec or {}).get("pipeline_spec") or spec or {}
