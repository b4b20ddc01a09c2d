"""What surrounds a stage, from what its caller knows and what the environment says.

The local run sets these variables for the steps that it starts; a cluster sets those that apply to it; a command typed
by hand has none of them:

- ``VICUR_RUN_ID``: the pipeline run that the stage belongs to
- ``VICUR_CACHE``: folder that results are kept in for reuse; unset or empty keeps nothing
- ``VICUR_SCRATCH``: folder for the work in progress of stages whose results are not kept
- ``VICUR_EVENTS``: file that progress is told in
- ``VICUR_LOGS``: folder in which each step writes its own log
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vicur.config.tracking import TrackingConfig
from vicur.stage.runner import DEFAULT_CACHE, DEFAULT_SCRATCH, Session
from vicur.tracking.tracker import Status, Tracker, finish_pipeline, open_tracker


def session_from_environment(seed: int, tracking: TrackingConfig, checkpoints: str = "") -> Session:
    """The session of a pipeline step.

    Args:
        seed: root seed of the run.
        tracking: where the run is tracked.
        checkpoints: folder or address on S3 below which checkpoints are kept, each stage's under its key; empty keeps them in its
            scratch space alone.
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
def session_by_hand(
    run_id: str,
    seed: int,
    tracking: TrackingConfig,
    *,
    cache: bool,
    checkpoints: str | None = None,
    fork_from: str | None = None,
) -> Iterator[Session]:
    """The session of a stage that is run by a command: it shares the pipeline's cache, and its MLflow run ends with it.

    Args:
        run_id: name of the run that the stage is tracked in.
        seed: root seed.
        tracking: where to track.
        cache: whether to reuse and keep results.
        checkpoints: folder or address on S3 that the stage keeps its checkpoints at.
        fork_from: checkpoints of another training that it begins with.
    """
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
            None if checkpoints is None else lambda _: checkpoints,
            fork_from,
        )
        status = "FINISHED"
    finally:
        if opened:
            finish_pipeline(tracking, run_id, status)


def run_id_from_environment() -> str:
    """Id of the pipeline run that this process belongs to."""
    return os.environ.get("VICUR_RUN_ID") or "unnamed"


def scratch_folder() -> Path:
    """Folder for the work in progress of a process that keeps no results."""
    return Path(os.environ.get("VICUR_SCRATCH") or Path(tempfile.gettempdir()) / "vicur")
