"""Runs a stage: reuses its result where nothing that counts has changed, else computes it, whole or not at all.

A stage is one public function ``(config, inputs, output, context) -> Summary``: paths in, an empty folder to fill, a summary back.
The command line and the pipeline's steps both come through :func:`execute`, so a laptop run and a cluster run are the same code.

What counts is the stage's own configuration, the bytes of its inputs, the root seed and the version of the code behind it.
Results are kept under ``<cache>/<stage>/<key>/``; ``<cache>/<stage>/<key>.work/`` is scratch space that survives a kill, so that a stage
that writes checkpoints there goes on where it stopped when the same step is run again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock
from pydantic import BaseModel

from vicur.code_version import code_version
from vicur.errors import VicurError
from vicur.events import Events
from vicur.storage import link_or_copy, new_file, new_folder, tree_sha256
from vicur.tracking import Tracker

log = logging.getLogger(__name__)

DEFAULT_CACHE = Path(".vicur/cache")


class Summary(BaseModel):
    """What a stage tells of its result. Holds nothing that differs between two runs of the same work (no times, no paths)."""

    key_figure: str
    """The one line that a person following the run wants to see."""
    metrics: dict[str, float] = {}
    """Figures for MLflow and the pipeline's metrics artifact."""


@dataclass(frozen=True)
class Context:
    """What surrounds a stage while it works.

    Attributes:
        run_id: the pipeline run that this stage belongs to.
        seed: root seed; draw through ``vicur.seeds`` substreams.
        tracker: where parameters, metrics and files are logged.
        events: progress for the live view.
        work: scratch folder keyed by the stage's inputs. It outlives a kill and is removed when the stage is done.
    """

    run_id: str
    seed: int
    tracker: Tracker
    events: Events
    work: Path


S = TypeVar("S", bound=Summary)
StageFunction = Callable[[Any, Mapping[str, Path], Path, Context], S]


@dataclass(frozen=True)
class Stage(Generic[S]):
    """A stage by name: its function, the summary that it returns and the module whose code it runs."""

    name: str
    function: StageFunction[S]
    summary: type[S]

    @property
    def code(self) -> str:
        """Version of the code behind this stage."""
        return code_version(self.function.__module__)


@dataclass(frozen=True)
class Session:
    """What the stages of one run share.

    Attributes:
        run_id: name of the run.
        seed: root seed.
        cache: where results are kept for reuse; ``None`` reuses nothing (a cluster step: the platform caches there).
        scratch: where work folders go without a cache.
        tracker: makes a tracker for a stage's label.
    """

    run_id: str
    seed: int
    cache: Path | None
    scratch: Path
    tracker: Callable[[str], Tracker]

    @staticmethod
    def cache_from_environment() -> Path | None:
        """The cache folder that ``VICUR_CACHE`` names; none where it is unset or empty."""
        path = os.environ.get("VICUR_CACHE")
        return Path(path) if path else None


def stage_key(stage: Stage[Any], config: BaseModel, inputs: Mapping[str, Path], seed: int, code: str | None = None) -> str:
    """What a stage's result depends on, as 32 hex digits."""
    parts = {
        "stage": stage.name,
        "code": code or stage.code,
        "config": config.model_dump(mode="json"),
        "inputs": {name: tree_sha256(path) for name, path in sorted(inputs.items())},
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def execute(
    stage: Stage[S], config: BaseModel, inputs: Mapping[str, Path], output: Path, session: Session, *, label: str | None = None
) -> S:
    """Brings ``output`` into being: from the cache, or by running the stage.

    Args:
        stage: what to run.
        config: the stage's own section of the configuration, and nothing else (it is part of the key).
        inputs: named files and folders that the stage reads.
        output: folder that the stage writes; it is replaced once the new one is whole.
        session: the run that this belongs to.
        label: how the step is called in the live view (``train vicur``); the stage's name by default.

    Raises:
        VicurError: for input that the user can mend, with nothing written.
    """
    events = Events.from_environment(label or stage.name)
    started = time.monotonic()
    try:
        key = stage_key(stage, config, inputs, session.seed)
        root = (session.cache if session.cache is not None else session.scratch) / stage.name
        root.mkdir(parents=True, exist_ok=True)
        # Two runs of the same work side by side: the second waits and then reuses.
        with FileLock(root / f"{key}.lock"):
            return _reuse_or_run(stage, config, inputs, output, session, root / key, events, started)
    except VicurError as error:
        events.emit("failed", str(error), seconds=time.monotonic() - started)
        raise
    except OSError as error:
        events.emit("failed", str(error), seconds=time.monotonic() - started)
        raise VicurError(
            f"{error.strerror or error}.", where=str(error.filename or output), remedy="Check the path, its permissions and the disk's space."
        ) from error
    except BaseException as error:
        events.emit("failed", f"{type(error).__name__}: {error}", seconds=time.monotonic() - started)
        raise


def _reuse_or_run(
    stage: Stage[S], config: BaseModel, inputs: Mapping[str, Path], output: Path, session: Session, entry: Path, events: Events, started: float
) -> S:
    if session.cache is not None and (entry / "summary.json").exists():
        summary = stage.summary.model_validate_json((entry / "summary.json").read_text(encoding="utf-8"))
        link_or_copy(entry / "output", output)
        events.emit("reused", summary.key_figure, seconds=time.monotonic() - started)
        return summary
    events.emit("started")
    work = entry.with_name(f"{entry.name}.work")
    work.mkdir(parents=True, exist_ok=True)
    with session.tracker(events.stage) as tracker, new_folder(output) as partial:
        context = Context(session.run_id, session.seed, tracker, events, work)
        summary = stage.function(config, inputs, partial, context)
        tracker.metrics(summary.metrics)
    if session.cache is not None:
        with new_folder(entry) as kept:
            link_or_copy(output, kept / "output")
            with new_file(kept / "summary.json") as file:
                file.write_text(summary.model_dump_json(indent=1), encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)
    events.emit("finished", summary.key_figure, seconds=time.monotonic() - started)
    return summary
