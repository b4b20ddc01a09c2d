"""What a step of the pipeline does around its stage: validate what the platform passed, run, and fail with one clear message."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from vicur.config.cluster import ClusterConfig
from vicur.config.tracking import TrackingConfig
from vicur.config.validation import validated
from vicur.data.sources import stage_inputs
from vicur.errors import VicurError
from vicur.stage.events import Events, read_events
from vicur.stage.runner import Summary, execute
from vicur.stage.session import session_from_environment
from vicur.stage.table import STAGES

log = logging.getLogger(__name__)


def run_step(
    name: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    output: str,
    *,
    seed: int,
    tracking: Mapping[str, Any],
    code: str = "",
    subject: str = "",
    checkpoints: str = "",
    cluster: Mapping[str, Any] | None = None,
) -> Summary:
    """Runs a stage as a step of the pipeline.

    Args:
        name: which stage.
        config: its section of the configuration as the platform passed it (JSON: whole numbers arrive as floats).
        inputs: local paths of the input artifacts by name.
        output: local path of the output artifact.
        seed: root seed.
        tracking: the tracking section.
        code: the stage's code version when the pipeline was compiled; empty if unknown.
        subject: what the stage works on, where the pipeline has several of it (``vicur``).
        checkpoints: folder or address on S3 below which the stage's checkpoints outlive its machine, if anywhere.
        cluster: of a training, the section with its nodes; with one or without the section, it takes place here.

    Exits the process, after one message, where the input is at fault.
    """
    label = step_label(name, subject)
    log_to_own_file(label)
    events = Events.from_environment(label)
    try:
        _stop_where_retrying_is_no_use(label)
        stage = STAGES[name].reference
        if code and code != stage.code:
            log.warning("this image holds other code (%s) than the pipeline was compiled for (%s)", stage.code, code)
        try:
            section = validated(STAGES[name].section, dict(config), name)
            paths = {**stage_inputs(section), **{key: Path(path) for key, path in inputs.items()}}
            tracked = validated(TrackingConfig, dict(tracking), "tracking")
            session = session_from_environment(seed, tracked, checkpoints)
            pool = validated(ClusterConfig, dict(cluster or {}), "cluster")
        except VicurError as error:
            events.emit("failed", str(error), retryable=False)
            raise
        if pool.nodes > 1:
            from vicur.cluster.jobs.training import LaunchedTraining

            launched = LaunchedTraining(pool, tracked, checkpoints)
            return execute(launched, section, paths, Path(output), session, events=events)
        return execute(stage, section, paths, Path(output), session, events=events)
    except VicurError as error:
        fail(error)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr, flush=True)
        raise SystemExit(128 + signal.SIGINT) from None


def step_label(name: str, subject: str = "") -> str:
    """How a step is called in the live view and the event log (``train vicur``)."""
    return f"{name} {subject}".strip()


def fail(error: VicurError) -> NoReturn:
    """Ends the process with the error's message and exit code."""
    print(f"Error: {error}", file=sys.stderr, flush=True)
    raise SystemExit(error.exit_code) from error


def log_to_own_file(label: str) -> None:
    """Sends all that this process writes from here on to a log of its own in ``VICUR_LOGS``, if that is set.

    Steps that run side by side share their parent's output, where their lines would mix. What libraries in C write goes
    there as well.
    """
    folder = os.environ.get("VICUR_LOGS")
    if not folder:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(log_file(Path(folder), label), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def log_file(folder: Path, label: str) -> Path:
    """Where the step called ``label`` logs to."""
    return folder / f"{label.replace(' ', '-')}.log"


def _stop_where_retrying_is_no_use(label: str) -> None:
    """A local run retries every failed step; where an earlier attempt found its input at fault, the work is not done again.

    Raises:
        VicurError: what the earlier attempt found.
    """
    path = os.environ.get("VICUR_EVENTS")
    if not path:
        return
    mine = [event for event in read_events(Path(path))[0] if event.stage == label]
    if mine and mine[-1].status == "failed" and mine[-1].retryable is False:
        raise VicurError(mine[-1].text, remedy="Retrying does not help.")
