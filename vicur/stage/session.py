"""Create a stage's session from the configuration and the environment.

The local run sets these variables for its steps and a cluster sets those that apply to it. A command typed by hand has none:

- ``VICUR_RUN_ID``: pipeline run that the stage belongs to
- ``VICUR_CACHE``: folder of reusable results; unset or empty disables the cache
- ``VICUR_SCRATCH``: folder for temporary files of stages that run without a cache
- ``VICUR_EVENTS``: file that progress is written to
- ``VICUR_LOGS``: folder in which each step writes its own log
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vicur.config.tracking import TrackingConfig
from vicur.stage.runner import DEFAULT_CACHE, DEFAULT_SCRATCH, Session
from vicur.storage.scratch import scratch_folder
from vicur.tracking.runs import finish_pipeline, open_tracker
from vicur.tracking.tracker import Status, Tracker


def session_from_environment(seed: int, tracking: TrackingConfig, checkpoints: str = "") -> Session:
    """Create the session of a pipeline step.

    Each stage stores its checkpoints below ``checkpoints`` under its key, or in its scratch space only if that is empty.
    """
    run_id = run_id_from_environment()
    cache = os.environ.get("VICUR_CACHE")
    return Session(
        run_id=run_id,
        seed=seed,
        cache=Path(cache) if cache else None,
        scratch=scratch_folder(),
        tracker=lambda stage: open_tracker(tracking, run_id, stage),
        checkpoints=_below(checkpoints) if checkpoints else None,
    )


def _below(root: str) -> Callable[[str], str]:
    return lambda key: f"{root.rstrip('/')}/{key}"


@contextmanager
def command_session(
    run_id: str,
    seed: int,
    tracking: TrackingConfig,
    *,
    cache: bool,
    checkpoints: str | None = None,
    fork_from: str | None = None,
) -> Iterator[Session]:
    """Create the session of a stage that a command runs. It shares the pipeline's cache and closes its MLflow run at the end."""
    opened: list[Tracker] = []

    def tracker(stage: str) -> Tracker:
        opened.append(open_tracker(tracking, run_id, stage))
        return opened[-1]

    status: Status = "FAILED"
    try:
        yield Session(
            run_id,
            seed,
            DEFAULT_CACHE if cache else None,
            DEFAULT_SCRATCH,
            tracker,
            # One stage, so its checkpoints need no folder of their own below the address.
            None if checkpoints is None else lambda _: checkpoints,
            fork_from,
        )
        status = "FINISHED"
    finally:
        # A stage whose result was reused has opened no tracker, and MLflow has no run to close.
        if opened:
            finish_pipeline(tracking, run_id, status)


def run_id_from_environment() -> str:
    """Return the id of this process's pipeline run, or ``unnamed``."""
    return os.environ.get("VICUR_RUN_ID") or "unnamed"
