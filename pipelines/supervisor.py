"""Starts the pipeline's process, follows what its steps tell, and stops it whole."""

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
    """Runs the pipeline to its end.

    Args:
        run: what to run; its lock is held by the caller.
        cache: folder that results are kept in for reuse.
        follow: told of new events, several times a second also when there are none.

    Returns:
        Exit code of the pipeline's process.

    Raises:
        Stopped: on SIGINT or SIGTERM, when all that was started has ended.
    """
    command = [sys.executable, "-m", "vicur_pipelines.local", str(run.path)]
    with (run.logs / PIPELINE_LOG).open("ab") as log, stopped_by_signals():
        pipeline = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(run, cache),
            # A group of its own: it is stopped whole, and the terminal's Ctrl-C reaches only us.
            start_new_session=True,
        )
        try:
            return _follow_to_the_end(pipeline, run, follow)
        finally:
            stop(pipeline)


def environment(run: RunFolder, cache: Path) -> dict[str, str]:
    """Environment of the pipeline's process and of its steps."""
    variables = {
        **os.environ,
        "VICUR_RUN_ID": run.run_id,
        "VICUR_EVENTS": str(run.events.absolute()),
        "VICUR_CACHE": str(cache.absolute()),
        "VICUR_LOGS": str(run.logs.absolute()),
        # kfp.local leaves a folder for each step in there.
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
    """Ends what is left of the pipeline's process group: first the pipeline, which would retry, then its steps."""
    if pipeline.poll() is None:
        pipeline.kill()
        pipeline.wait()
    deadline = time.monotonic() + _GRACE_SECONDS
    number = int(signal.SIGINT)
    while _signalled(pipeline.pid, number):
        time.sleep(0.05)
        if time.monotonic() > deadline:
            _signalled(pipeline.pid, signal.SIGKILL)
            return
        number = 0


def _signalled(group: int, number: int) -> bool:
    """Signals a process group; false where there is none any more."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
