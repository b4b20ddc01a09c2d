"""Runs a stage: reuses its result where nothing that counts has changed, else computes it, whole or not at all.

A stage is one public function ``(config, inputs, output, context) -> Summary``: paths in, an empty folder to fill, a
summary back. The command line and the pipeline's steps both come through :func:`execute`, so a laptop run and a cluster
run are the same code.

What counts is the stage's own configuration, the bytes of its inputs, the root seed and the version of the code behind
it. Results are kept under ``<cache>/<stage>/<key>/`` as ``output/`` and ``entry.json`` (the summary, and a hash that
tells whether somebody changed the output since). ``<cache>/<stage>/<key>.work/`` is scratch space that survives a kill,
so that a stage that writes checkpoints there goes on where it stopped when the same step is run again.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import logging
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
from vicur.stage.code_version import code_version
from vicur.stage.events import Events
from vicur.storage.folders import link_or_copy, new_folder, tree_sha256
from vicur.tracking.tracker import Tracker

log = logging.getLogger(__name__)

DEFAULT_CACHE = Path(".vicur/cache")
DEFAULT_SCRATCH = Path(".vicur/scratch")
# Troubles of the machine, not of the code.
_MACHINE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOTDIR)


class Summary(BaseModel):
    """What a stage tells of its result. Holds nothing that differs between two runs of the same work (no times, no
    paths).
    """

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
        identity: what the stage's result depends on: its configuration, the hashes of its inputs, the seed and the version of its code.
        checkpoints: where a stage that writes checkpoints keeps them, instead of in ``work`` alone: a folder, or an address on S3.
        fork_from: checkpoints of another identity that the stage begins with.
        shared_at: where what is ``shared`` outlives this machine: a folder, or an address on S3.
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

    @property
    def shared(self) -> Path:
        """Folder that all work of the stage shares, for what is named by its own content. It stays when the stage is done."""
        return self.work.with_name("shared")


S = TypeVar("S", bound=Summary)
StageFunction = Callable[[Any, Mapping[str, Path], Path, Context], S]


@dataclass(frozen=True)
class Stage(Generic[S]):
    """A stage by name.

    Attributes:
        name: how commands, events and caches call it.
        function: what it does; the code behind the function's module is part of what counts.
        summary: what it returns.
        reusable: whether what counts says it all. A stage that also depends on a server's state always runs.
    """

    name: str
    function: StageFunction[S]
    summary: type[S]
    reusable: bool = True

    @property
    def code(self) -> str:
        """Version of the code behind this stage."""
        return code_version(self.function.__module__)

    def load(self) -> Stage[S]:
        """This stage: it is here already."""
        return self


class KeptSummary(Summary):
    """The summary of a kept result, with whatever fields its stage gave it."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True)
class StageReference:
    """A stage by where it is defined. Reusing its result needs no more, and a step that reuses imports no torch.

    Attributes:
        name: the stage's name.
        module: module of the stage's function.
        constant: the :class:`Stage` in that module.
        reusable: as in :class:`Stage`.
        summary: how a kept summary is read.
    """

    name: str
    module: str
    constant: str
    reusable: bool = True
    summary: type[Summary] = KeptSummary

    @property
    def code(self) -> str:
        """Version of the code behind this stage."""
        return code_version(self.module)

    def load(self) -> Stage[Summary]:
        """Imports the stage."""
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
    """What the stages of one run share.

    Attributes:
        run_id: name of the run.
        seed: root seed.
        cache: where results are kept for reuse; ``None`` reuses nothing (a cluster step: the platform caches there).
        scratch: where work folders go without a cache.
        tracker: makes a tracker for a stage's label.
        checkpoints: where the checkpoints of a stage with a given key are kept, so that they outlive this machine; ``None`` keeps them
            in the stage's work folder alone.
        fork_from: checkpoints of other work that a stage begins with.
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
    """What a stage's result depends on."""
    return {
        "stage": stage.name,
        "code": code or stage.code,
        "config": config.identity(),
        "inputs": {name: tree_sha256(path) for name, path in sorted(inputs.items())},
        "seed": seed,
    }


def stage_key(identity: Mapping[str, Any]) -> str:
    """An identity as 32 hex digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def execute(
    stage: AnyStage[S],
    config: Section,
    inputs: Mapping[str, Path],
    output: Path,
    session: Session,
    *,
    events: Events | None = None,
) -> S:
    """Brings ``output`` into being: from the cache, or by running the stage.

    Args:
        stage: what to run.
        config: the stage's own section of the configuration, and nothing else (its identity is part of the key).
        inputs: named files and folders that the stage reads.
        output: folder that the stage writes; it is replaced once the new one is whole.
        session: the run that this belongs to.
        events: where progress is told; by default under the stage's name, in the file that ``VICUR_EVENTS`` names.

    Raises:
        VicurError: for input that the user can mend, with nothing written.
    """
    events = events or Events.from_environment(stage.name)
    started = time.monotonic()
    try:
        summary, reused = _result(stage, config, inputs, output, session, events)
    except BaseException as error:
        failure = for_the_user(error, output)
        text = str(failure) if isinstance(failure, VicurError) else f"{type(failure).__name__}: {failure}"
        seconds = time.monotonic() - started
        events.emit("failed", text, seconds=seconds, retryable=getattr(failure, "retryable", True))
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


def for_the_user(error: BaseException, output: Path) -> BaseException:
    """Says plainly what a full disk or a missing permission is; any other error stays as it is."""
    if not isinstance(error, OSError) or error.errno not in _MACHINE:
        return error
    return VicurError(
        f"{error.strerror or error}.",
        where=str(error.filename or output),
        remedy="Check the path, its permissions and the disk's space.",
    )


def _result(
    stage: AnyStage[S], config: Section, inputs: Mapping[str, Path], output: Path, session: Session, events: Events
) -> tuple[S, bool]:
    """The summary of the stage, whose output lies at ``output`` now, and whether it came from the cache."""
    identity = stage_identity(stage, config, inputs, session.seed)
    if session.fork_from is not None:
        identity["fork_from"] = session.fork_from
    key = stage_key(identity)
    # What a fork begins with may change where it lies, and is no part of the key: such a result is neither kept nor reused.
    cache = session.cache if stage.reusable and session.fork_from is None else None
    root = (session.cache or session.scratch) / stage.name
    root.mkdir(parents=True, exist_ok=True)
    entry = root / key
    # Two runs of the same work side by side: the second waits and then reuses.
    with FileLock(root / f"{key}.lock"):
        if cache is not None and (summary := _reuse(stage, entry, output)) is not None:
            return summary, True
        events.emit("started")
        work = root / f"{key}.work"
        work.mkdir(parents=True, exist_ok=True)
        with session.tracker(events.stage) as tracker, new_folder(output) as partial:
            kept_at, shared_at = _outliving(session, key), _outliving(session, f"{stage.name}-shared")
            context = Context(
                session.run_id, session.seed, tracker, events, work, identity, kept_at, session.fork_from, shared_at
            )
            summary = stage.load().function(config, inputs, partial, context)
            tracker.metrics(summary.metrics)
        if cache is not None:
            _keep(summary, output, entry)
        shutil.rmtree(work, ignore_errors=True)
    return summary, False


def _outliving(session: Session, name: str) -> str | None:
    return None if session.checkpoints is None else session.checkpoints(name)


class _Entry(BaseModel):
    """What lies beside a kept output."""

    summary: dict[str, Any]
    output_sha256: str


def _keep(summary: Summary, output: Path, entry: Path) -> None:
    with new_folder(entry) as kept:
        link_or_copy(output, kept / "output")
        record = _Entry(summary=summary.model_dump(mode="json"), output_sha256=tree_sha256(kept / "output"))
        (kept / "entry.json").write_text(record.model_dump_json(indent=1), encoding="utf-8")


def _reuse(stage: AnyStage[S], entry: Path, output: Path) -> S | None:
    """Puts a kept result at ``output`` and returns its summary; ``None`` where there is none that can be trusted."""
    try:
        record = _Entry.model_validate_json((entry / "entry.json").read_text(encoding="utf-8"))
        summary = stage.summary.model_validate(record.summary)
        intact = tree_sha256(entry / "output") == record.output_sha256
    except FileNotFoundError:
        return None
    except (ValueError, VicurError) as error:
        log.warning("%s cannot be read (%s): doing the work again", entry, error)
        return None
    if not intact:
        # Its files are shared with the outputs of runs, and somebody has edited one in place.
        log.warning("%s was changed after it was written: doing the work again", entry)
        return None
    link_or_copy(entry / "output", output)
    return summary
