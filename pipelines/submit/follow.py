"""Follow a run until it has ended, and report its true state."""

# "kfp run create --watch" exits with 0 even if the run failed, and the SDK never stops waiting for a run that was canceled.

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from vicur_pipelines.live import LiveView, PlainView, view_of
from vicur_pipelines.progress import Progress
from vicur_pipelines.submit.packaged import PackagedStep, packaged_steps
from vicur_pipelines.submit.pods import RunInCluster, namespaces_of
from vicur_pipelines.submit.server import Server
from vicur_pipelines.submit.silence import Silence
from vicur_pipelines.submit.tasks import FailedStep, TaskStates, labels_of

from vicur.errors import VicurError

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

PATIENCE_SECONDS = 900.0  # that a server may be unreachable while a run is followed
# The form's field with the methods, and its former name.
_METHODS = ("train_methods", "methods")
_FINAL = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")


@dataclass(frozen=True)
class Ending:
    """The end of a run."""

    state: str  # SUCCEEDED, FAILED, SKIPPED or CANCELED
    failed: tuple[FailedStep, ...]
    unknown: tuple[str, ...]  # labels of the steps whose end the server never reported
    steps: Mapping[str, PackagedStep]  # by the name of their task
    started: bool  # whether the server knows any task of it


def follow(server: Server, run_id: str, console: Console, poll: float) -> Ending:
    """Show the steps of a run until it has ended. An unreachable server is retried for a quarter of an hour.

    Raises:
        VicurError: if the run does not exist, the token has expired, or the server stays unreachable. The run itself continues.
    """
    run = get_run(server, run_id)
    package = package_of(server, run)
    states, silence = (
        TaskStates(package.steps, package.methods),
        Silence(RunInCluster(run_id, namespaces_of(server)).is_compressed),
    )
    progress = Progress(labels_of(package.steps, package.methods))
    with view_of(progress, console) as view:
        while True:
            changed = _show(run, states, progress, view)
            if is_final(run):
                unknown = progress.lose()
                view.follow([])
                break
            if text := silence.message(changed=changed, pod_runs=states.pod_runs):
                console.print(text, style="yellow", markup=False, soft_wrap=True)
            time.sleep(poll)
            run = _wait_for_run(server, run_id, console, poll)
    return Ending(
        final_state(run),
        tuple(states.failed),
        tuple(unknown),
        package.steps,
        started=bool(run.run_details and run.run_details.task_details),
    )


def _show(run: V2beta1Run, states: TaskStates, progress: Progress, view: LiveView | PlainView) -> bool:
    """Show the state of the run's steps, and return whether the server has reported anything new."""
    events = states.update((run.run_details.task_details or ()) if run.run_details else ())
    for event in events:
        progress.expect(event.stage)
    view.follow(events)
    return states.changed


def is_final(run: V2beta1Run) -> bool:
    return run.state in _FINAL


def final_state(run: V2beta1Run) -> str:
    """Return the state of a run that has ended: SUCCEEDED, FAILED, SKIPPED or CANCELED."""
    # A terminated run ends as FAILED. Only its history shows that it was terminated.
    canceled = any(each.state == "CANCELING" for each in run.state_history or ())
    return "CANCELED" if canceled and run.state == "FAILED" else str(run.state)


def get_run(server: Server, run_id: str) -> V2beta1Run:
    """Return a run with its tasks, or raise :class:`VicurError` if it does not exist or the server does not answer."""
    import kfp_server_api

    run = server.call(kfp_server_api.RunServiceApi(server.api).run_service_get_run, run_id)
    server.known(run.run_id)
    return run


def _wait_for_run(server: Server, run_id: str, console: Console, poll: float) -> V2beta1Run:
    deadline = time.monotonic() + PATIENCE_SECONDS
    warned = False
    while True:
        try:
            return get_run(server, run_id)
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


@dataclass(frozen=True)
class RunPackage:
    """The package that a run was started from."""

    steps: Mapping[str, PackagedStep]  # by the name of their task
    methods: tuple[str, ...]  # that the loop goes through, in this order; empty if unknown


def package_of(server: Server, run: V2beta1Run) -> RunPackage:
    """Return the package of a run."""
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
    pair = spec or {}
    spec = pair.get("pipeline_spec") or pair
    return RunPackage(packaged_steps(spec, pair.get("platform_spec") or {}), _methods(run, spec))


def _methods(run: V2beta1Run, spec: Mapping[str, Any]) -> tuple[str, ...]:
    declared = ((spec.get("root") or {}).get("inputDefinitions") or {}).get("parameters") or {}
    given = (run.runtime_config.parameters or {}) if run.runtime_config else {}
    for name in _METHODS:
        value = given.get(name, (declared.get(name) or {}).get("defaultValue"))
        if value and isinstance(value, list):
            return tuple(map(str, value))
    return ()
