"""Run a stage as a pipeline step: validate the parameters from the platform, run the stage, and fail with one clear message."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from vicur.cluster.pods import in_cluster
from vicur.config.cluster import DEFAULT_RETRIES
from vicur.config.validation import validated
from vicur.data.sources import all_inputs
from vicur.errors import VicurError
from vicur.processes.retrying import RetryPolicy, retried
from vicur.stage.events import Events, read_events
from vicur.stage.runner import AnyStage, Summary, execute
from vicur.stage.session import run_id_from_environment, session_from_environment
from vicur.stage.table import BENCHMARKS, LAST_STEPS, STAGES, step_label
from vicur.steps.parameters import StepParameters, tracking_of
from vicur.tracking.injected import use_injected_mlflow
from vicur.tracking.runs import finish_pipeline
from vicur.weights import stage_models

log = logging.getLogger(__name__)

# A variable and not a parameter: another number of retries must not keep the platform's cache from hitting.
RETRIES = "VICUR_RETRIES"
"""Environment variable with ``cluster.retries``, in packages in which that is not the default."""
_LOST_PODS = "KFP_RETRY_INDEX"  # number of earlier pods of this step, from Kubeflow Pipelines


R = TypeVar("R")


class Artifact(Protocol):
    """An artifact of Kubeflow Pipelines, as far as a step uses it. The library does not import kfp."""

    @property
    def path(self) -> str: ...
    @property
    def uri(self) -> str: ...
    @property
    def metadata(self) -> dict[str, Any]: ...


class Metrics(Protocol):
    """An artifact that collects metrics."""

    def log_metric(self, metric: str, value: float) -> None: ...


def run_step(
    name: str,
    step: Mapping[str, Any],
    inputs: Mapping[str, Artifact],
    output: Artifact,
    metrics: Metrics | None = None,
) -> Summary:
    """Run the stage called ``name`` as a step of a pipeline. Exit the process after one message if the input is at fault.

    Args:
        step: :class:`~vicur.steps.parameters.StepParameters` as the platform passed them. In JSON from KFP, whole numbers are floats.
        inputs: input artifacts by the name that the stage knows them by.
        output: output artifact. It is labeled with the step's subject, so that later steps can tell the cells apart.
        metrics: artifact for the metrics, named by subject: KFP's "Compare runs" cannot tell the iterations of a loop apart.
    """
    subject = str(step.get("subject", ""))
    label = step_label(name, subject)
    paths = {key: Path(each.path) for key, each in inputs.items()}
    addresses = {key: each.uri for key, each in inputs.items()}
    summary = run_as_step(label, lambda: _execute(name, label, step, paths, Path(output.path), addresses))
    if name in LAST_STEPS and in_cluster():
        _record_success(step)
    output.metadata.update(output_metadata(subject))
    if metrics is not None:
        for metric, value in summary.metrics.items():
            # KFP's launcher cannot read an output file with NaN, and would fail the step that has succeeded.
            if math.isfinite(value):
                metrics.log_metric(f"{subject}: {metric}" if subject else metric, value)
    return summary


def run_as_step(label: str, run: Callable[[], R]) -> R:
    """Call a function as the step called ``label``. Exit the process after one message if the input is at fault."""
    begin(label)
    try:
        return run()
    except VicurError as error:
        fail(error)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr, flush=True)
        raise SystemExit(128 + signal.SIGINT) from None


def output_metadata(subject: str) -> dict[str, str]:
    """Return the properties of an output artifact, which KFP copies into the pod patch of every step that reads it."""
    # Unless a step sets store_session_info, KFP adds the location of the object store, 600 bytes each time. Only its UI reads it, to show
    # a file, and these artifacts are folders.
    return {"store_session_info": "", **({"subject": subject} if subject else {})}


def cell_inputs(evaluations: Iterable[Artifact]) -> dict[str, Artifact]:
    """Return the evaluations of all cells by subject."""
    # KFP collects the artifacts of a loop in any order, so they are identified by their label.
    return {each.metadata["subject"]: each for each in evaluations}


def benchmark_inputs(scores: Iterable[Artifact]) -> dict[str, Artifact]:
    """Return the benchmarks' scores of all models by ``<subject>.benchmarks``."""
    return {f"{each.metadata['subject']}{BENCHMARKS}": each for each in scores}


def of_subject(artifacts: Iterable[Artifact], subject: str) -> Artifact:
    return next(each for each in artifacts if each.metadata["subject"] == subject)


def _execute(
    name: str,
    label: str,
    step: Mapping[str, Any],
    inputs: Mapping[str, Path],
    output: Path,
    addresses: Mapping[str, str],
) -> Summary:
    events = Events.from_environment(label)
    refuse_useless_retry(label)
    try:
        parameters: StepParameters = validated(StepParameters, dict(step), "step")
        section = validated(STAGES[name].section, parameters.config, name)
        retried(partial(stage_models, section, events), step_policy(), partial(events.emit, "progress"))
        paths = all_inputs(section, inputs)
    except VicurError as error:
        events.emit("failed", str(error), retryable=error.retryable)
        raise
    tracking = tracking_of(parameters)
    session = session_from_environment(parameters.seed, tracking, parameters.checkpoints)
    stage: AnyStage[Any] = STAGES[name].reference
    if parameters.cluster.launches_job:
        # Imports the Kubernetes client.
        from vicur.cluster.jobs.training import TrainJobStage

        stage = TrainJobStage(parameters.cluster, tracking, parameters.checkpoints)
    # A training resumes from its checkpoint, and every other stage starts anew in an empty output folder.
    summary: Summary = retried(
        lambda: execute(stage, section, paths, output, session, events=events, addresses=addresses),
        step_policy(),
        partial(events.emit, "progress"),
    )
    return summary


def _record_success(step: Mapping[str, Any]) -> None:
    # If Kubeflow Pipelines retries a failed run, its exit step has ended already and does not run again.
    tracking, run_id = tracking_of(validated(StepParameters, dict(step), "step")), run_id_from_environment()
    try:
        retried(lambda: finish_pipeline(tracking, run_id, "FINISHED", outcome=""), step_policy(), log.warning)
    except VicurError as error:
        log.warning("The success of the run could not be recorded in MLflow: %s", error)
    except Exception:
        # The step has succeeded, and a second version must not be registered because of this.
        log.exception("The success of the run could not be recorded in MLflow.")


def step_policy() -> RetryPolicy:
    """Return the policy of this step.

    Kubeflow Pipelines 2.17 repeats a pod that was lost, but not a container that failed. A local run repeats failed steps itself.
    """
    if not in_cluster():
        return RetryPolicy(0)
    retries, lost = (os.environ.get(name, "") for name in (RETRIES, _LOST_PODS))
    limit = int(retries) if retries.isdecimal() else DEFAULT_RETRIES
    return RetryPolicy(max(0, limit - (int(lost) if lost.isdecimal() else 0)))


def fail(error: VicurError) -> NoReturn:
    """Exit the process with the error's message and exit code."""
    print(f"Error: {error}", file=sys.stderr, flush=True)
    raise SystemExit(error.exit_code) from error


def begin(label: str) -> None:
    """Prepare this process for a step: its log file and MLflow's settings."""
    log_to_own_file(label)
    use_injected_mlflow()


def log_to_own_file(label: str) -> None:
    """Redirect stdout and stderr of this process to its own log file in ``VICUR_LOGS``, if that is set."""
    folder = os.environ.get("VICUR_LOGS")
    if not folder:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    # Steps that run side by side share their parent's output, which would mix their lines. Replacing the file descriptors covers the
    # output of C libraries, too.
    file = os.open(log_file(Path(folder), label), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def log_file(folder: Path, label: str) -> Path:
    return folder / f"{label.replace(' ', '-')}.log"


def refuse_useless_retry(label: str) -> None:
    """Raise the error of an earlier attempt of a local run's step if it was final."""
    # A local run retries every failed step, also if the earlier attempt found its input at fault.
    path = os.environ.get("VICUR_EVENTS")
    if not path:
        return
    own = [event for event in read_events(Path(path))[0] if event.stage == label]
    if own and own[-1].status == "failed" and own[-1].retryable is False:
        raise VicurError(own[-1].text, remedy="Retrying does not help.")
