"""Start the process of a pipeline, follow the events of its steps, and stop all of its processes together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vicur_pipelines.run_folder import RunFolder

from vicur.processes.signals import stopped_by_signals
from vicur.processes.threads import limit_threads
from vicur.stage.events import Event, read_events

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 5.0
PIPELINE_LOG = "pipeline.log"


def supervise(run: RunFolder, cache: Path, follow: Callable[[list[Event]], None]) -> int:
    """Run a pipeline, whose lock the caller holds, and return the exit code of its process.

    ``follow`` is called with the new events several times per second, also if there are none.

    Raises:
        Stopped: on SIGINT or SIGTERM, after all processes of the pipeline have ended.
    """
    command = [sys.executable, "-m", "vicur_pipelines.local", str(run.path)]
    with (run.logs / PIPELINE_LOG).open("ab") as log, stopped_by_signals():
        pipeline = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(run, cache),
            # In its own process group, it can be stopped with all of its steps, and Ctrl-C reaches only this process.
            start_new_session=True,
        )
        try:
            return _follow_to_the_end(pipeline, run, follow)
        finally:
            stop(pipeline)


def environment(run: RunFolder, cache: Path) -> dict[str, str]:
    variables = {
        **os.environ,
        "VICUR_RUN_ID": run.run_id,
        "VICUR_EVENTS": str(run.events.absolute()),
        "VICUR_CACHE": str(cache.absolute()),
        "VICUR_LOGS": str(run.logs.absolute()),
        # kfp.local leaves a temporary folder per step behind.
        "TMPDIR": str(run.temporary.absolute()),
        "PYTHONUNBUFFERED": "1",
    }
    variables.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    limit_threads(variables)
    return variables


def _follow_to_the_end(pipeline: subprocess.Popen[bytes], run: RunFolder, follow: Callable[[list[Event]], None]) -> int:
    offset = 0
    while True:
        code = pipeline.poll()
        events, offset = read_events(run.events, offset)
        follow(events)
        if code is not None:
            return code
        time.sleep(_POLL_SECONDS)


def stop(pipeline: subprocess.Popen[bytes]) -> None:
    """End the process group of a pipeline: first the pipeline, which would retry its steps, then the steps."""
    if pipeline.poll() is None:
        pipeline.kill()
        pipeline.wait()
    deadline = time.monotonic() + _GRACE_SECONDS
    number = int(signal.SIGINT)
    while _signal_group(pipeline.pid, number):
        time.sleep(0.05)
        if time.monotonic() > deadline:
            _signal_group(pipeline.pid, signal.SIGKILL)
            return
        # Signal 0 only checks whether the group still exists.
        number = 0


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group. Return false if it no longer exists."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
