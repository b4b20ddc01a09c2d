"""Run a stage, or reuse a cached result if nothing that the result depends on has changed.

A stage is one public function ``(config, inputs, output, context) -> Summary``: it reads the input paths, fills an empty output
folder and returns a summary. The command line and the pipeline's steps both call :func:`execute`, so a laptop run and a cluster
run execute the same code.

The cache key covers the stage's own configuration, the bytes of its inputs, the root seed and the version of its code. Results
are stored in ``<cache>/<stage>/<key>/`` (see :mod:`vicur.stage.cache`). ``<cache>/<stage>/<key>.work/`` is scratch space that
survives a kill: a stage that writes checkpoints there resumes from them when the same work runs again.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from vicur.config.section import Section
from vicur.errors import VicurError
from vicur.processes.signals import sigterms
from vicur.stage import cache
from vicur.stage.code_version import code_version
from vicur.stage.events import Events
from vicur.storage.folders import new_folder, protect, tree_sha256
from vicur.tracking.tracker import Tracker

DEFAULT_CACHE = Path(".vicur/cache")
DEFAULT_SCRATCH = Path(".vicur/scratch")
# Errors caused by the machine (permissions, disk space), not by a defect in the code.
_MACHINE_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOTDIR)


class Summary(BaseModel):
    """Result of a stage in a few fields. Contains no times or paths: two runs of the same work have equal summaries."""

    key_figure: str
    """One line for people who follow the run."""
    metrics: dict[str, float] = {}
    """Metrics for MLflow and the pipeline's metrics artifact."""


@dataclass(frozen=True)
class Context:
    """Environment of a running stage.

    Attributes:
        seed: root seed; draw from ``vicur.seeds`` substreams.
        work: scratch folder keyed by the stage's inputs. It survives a kill and is removed when the stage has finished.
        identity: everything that the result depends on: configuration, hashes of the inputs, seed and code version.
        checkpoints: durable folder or S3 address for the stage's checkpoints; ``None`` keeps them in ``work`` only.
        fork_from: checkpoints of another identity that the stage starts from.
        shared_at: durable folder or S3 address for the content of ``shared``.
        addresses: where the platform stores inputs, by name.
    """

    run_id: str
    seed: int
    tracker: Tracker
    events: Events
    work: Path
    identity: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: str | None = None
    fork_from: str | None = None
    shared_at: str | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        """Folder shared by all runs of the stage, for files that are named by their content. It is never removed."""
        return self.work.with_name("shared")


S = TypeVar("S", bound=Summary)
StageFunction = Callable[[Any, Mapping[str, Path], Path, Context], S]


@dataclass(frozen=True)
class Stage(Generic[S]):
    """A stage with its function.

    Attributes:
        function: the stage's work. The code version covers its module and everything that this imports.
        reusable: ``False`` if the result also depends on a server's state; such a stage always runs.
    """

    name: str
    function: StageFunction[S]
    summary: type[S]
    reusable: bool = True

    @property
    def code(self) -> str:
        """Version of the stage's code."""
        return code_version(self.function.__module__)

    def load(self) -> Stage[S]:
        """Return this stage."""
        return self


class CachedSummary(Summary):
    """Summary of any stage, read from a cache entry: it accepts every field."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True)
class StageReference:
    """A :class:`Stage` by its module and the name of the constant in it.

    The module is imported only when the stage runs, so a step that reuses a result never imports torch.
    """

    name: str
    module: str
    constant: str
    reusable: bool = True
    summary: type[Summary] = CachedSummary

    @property
    def code(self) -> str:
        """Version of the stage's code."""
        return code_version(self.module)

    def load(self) -> Stage[Summary]:
        """Import the stage."""
        stage: Stage[Summary] = getattr(importlib.import_module(self.module), self.constant)
        return stage


class AnyStage(Protocol[S]):
    """A stage, imported or not."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> type[S]: ...
    @property
    def reusable(self) -> bool: ...
    @property
    def code(self) -> str: ...
    def load(self) -> Stage[S]: ...


@dataclass(frozen=True)
class Session:
    """Settings that all stages of a run share.

    Attributes:
        cache: folder of reusable results; ``None`` disables reuse (in a cluster, the platform caches steps).
        scratch: parent of the work folders without a cache.
        tracker: opens the tracker of a stage, given the stage's label.
        checkpoints: returns the durable location of the checkpoints of a key; ``None`` keeps them in the work folder only.
        fork_from: checkpoints of other work that a stage starts from.
    """

    run_id: str
    seed: int
    cache: Path | None
    scratch: Path
    tracker: Callable[[str], Tracker]
    checkpoints: Callable[[str], str] | None = None
    fork_from: str | None = None


def stage_identity(
    stage: AnyStage[Any], config: Section, inputs: Mapping[str, Path], seed: int, code: str | None = None
) -> dict[str, Any]:
    """Return everything that the result of a stage depends on."""
    return {
        "stage": stage.name,
        "code": code or stage.code,
        "config": config.identity(),
        "inputs": {name: tree_sha256(path) for name, path in sorted(inputs.items())},
        "seed": seed,
    }


def stage_key(identity: Mapping[str, Any]) -> str:
    """Hash an identity to 32 hex digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def execute(
    stage: AnyStage[S],
    config: Section,
    inputs: Mapping[str, Path],
    output: Path,
    session: Session,
    *,
    events: Events | None = None,
    addresses: Mapping[str, str] | None = None,
) -> S:
    """Produce ``output`` from the cache or by running the stage.

    Args:
        config: the stage's own section of the configuration. Its identity is part of the cache key, so pass nothing else.
        output: folder to write. An existing folder is replaced once the new one is complete.
        events: receives progress; by default the file in ``VICUR_EVENTS``, under the stage's name.
        addresses: where the platform stores inputs, by name. Not part of the identity: the inputs' bytes are.

    Raises:
        VicurError: if the input is invalid or the machine lacks space or permissions. ``output`` is unchanged.
    """
    events = events or Events.from_environment(stage.name)
    started, received = time.monotonic(), sigterms()
    try:
        summary, reused = _restore_or_run(stage, config, inputs, output, session, events, addresses or {})
    # BaseException: a stage that Ctrl-C interrupts has failed too, as far as the live view is concerned.
    except BaseException as error:
        failure = user_error(error, output)
        text = str(failure) if isinstance(failure, VicurError) else f"{type(failure).__name__}: {failure}"
        seconds = time.monotonic() - started
        # A preempted training that has written its checkpoint is not at fault.
        word = "stopped" if sigterms() > received else ""
        events.emit("failed", text, logged_as=word, seconds=seconds, retryable=getattr(failure, "retryable", True))
        if failure is error:
            raise
        raise failure from error
    events.emit(
        "reused" if reused else "finished",
        summary.key_figure,
        seconds=time.monotonic() - started,
        output=str(output.absolute()),
        summary=summary.model_dump(mode="json"),
    )
    return summary


def user_error(error: BaseException, output: Path) -> BaseException:
    """Convert an ``OSError`` about permissions or disk space to a ``VicurError``. Other errors are returned unchanged."""
    if not isinstance(error, OSError) or error.errno not in _MACHINE_ERRORS:
        return error
    return VicurError(
        f"{error.strerror or error}.",
        where=str(error.filename or output),
        remedy="Check that the path exists, that you may write to it and that its disk has space left.",
    )


def _restore_or_run(
    stage: AnyStage[S],
    config: Section,
    inputs: Mapping[str, Path],
    output: Path,
    session: Session,
    events: Events,
    addresses: Mapping[str, str],
) -> tuple[S, bool]:
    """Return the stage's summary, and whether it came from the cache."""
    identity = stage_identity(stage, config, inputs, session.seed)
    if session.fork_from is not None:
        identity["fork_from"] = session.fork_from
    key = stage_key(identity)
    # The key holds the address of a fork's checkpoints but not their content, which may change. So forks bypass the cache.
    cached = session.cache is not None and stage.reusable and session.fork_from is None
    root = (session.cache or session.scratch) / stage.name
    root.mkdir(parents=True, exist_ok=True)
    entry = root / key
    # If two runs need the same work at the same time, the second waits for the lock and then reuses the first one's result.
    with FileLock(root / f"{key}.lock"):
        if cached and (summary := cache.restore(entry, stage.summary, output)) is not None:
            return summary, True
        events.emit("started")
        work = root / f"{key}.work"
        work.mkdir(parents=True, exist_ok=True)
        with session.tracker(events.stage) as tracker, new_folder(output) as partial:
            context = Context(
                run_id=session.run_id,
                seed=session.seed,
                tracker=tracker,
                events=events,
                work=work,
                identity=identity,
                checkpoints=_durable(session, key),
                fork_from=session.fork_from,
                shared_at=_durable(session, f"{stage.name}-shared"),
                addresses=addresses,
            )
            summary = stage.load().function(config, inputs, partial, context)
            # The cache and other runs share these files, so that an editor should not change them by accident.
            protect(partial)
            tracker.metrics(summary.metrics)
        if cached:
            cache.store(summary, output, entry)
        # Only after the result is stored: a kill before this line resumes from the checkpoints in the work folder.
        shutil.rmtree(work, ignore_errors=True)
    return summary, False


def _durable(session: Session, name: str) -> str | None:
    return None if session.checkpoints is None else session.checkpoints(name)
