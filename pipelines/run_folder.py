"""The folder of one local run: what it was asked for, whether it is going on, and what it left.

``runs/<run id>/`` holds ``run.json`` (the pipeline and its configuration), ``events.jsonl``, ``logs/`` (a file a step), ``pipeline/``
(the steps' outputs), the report or the page of results and, once the run has ended, ``summary.json``. ``runs/latest`` points at the newest.

A run that did not end well is not over: the same configuration given again goes on in the same folder, under the same run
id, and finished stages come from the cache. A run that ended well is over, and the same configuration starts a new one.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vicur_pipelines.table import PIPELINES, pipeline_of

from vicur.config.section import Section
from vicur.errors import VicurError
from vicur.storage.folders import new_file, unwritable

RUNS = Path("runs")
LATEST = "latest"
# A supervisor that was killed takes its pipeline with it at once, but not in no time.
_PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class RunFolder:
    """A run by its folder."""

    path: Path

    @property
    def run_id(self) -> str:
        """Name of the run."""
        return self.path.name

    @property
    def events(self) -> Path:
        """File that the steps tell their progress in."""
        return self.path / "events.jsonl"

    @property
    def logs(self) -> Path:
        """Folder of the steps' logs."""
        return self.path / "logs"

    @property
    def outputs(self) -> Path:
        """Folder of the steps' outputs."""
        return self.path / "pipeline"

    @property
    def temporary(self) -> Path:
        """Folder for temporary files of the steps; gone when the run ends."""
        return self.path / "tmp"

    @property
    def summary(self) -> Path:
        """The run in figures, once it has ended."""
        return self.path / "summary.json"

    @property
    def lock(self) -> Path:
        """File that the run's supervisor holds a lock on while it lives."""
        return self.path / ".lock"

    def record(self) -> dict[str, Any]:
        """What ``run.json`` says; empty where it cannot be read."""
        return _json(self.path / "run.json")

    def config(self) -> Section:
        """The configuration that the run was started with."""
        record = self.record()
        return PIPELINES[record["pipeline"]].config.model_validate(record["config"])

    @property
    def succeeded(self) -> bool:
        """Whether the run has ended well."""
        return _json(self.summary).get("status") == "succeeded"

    def prepare(self) -> None:
        """Makes way for (another) execution: what the last one left half-done goes, logs are added to."""
        for folder in (self.outputs, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        self.logs.mkdir(exist_ok=True)
        self.events.write_bytes(b"")
        self.summary.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the run's lock, which ends with the process that holds it, however that ends.

        Raises:
            VicurError: where the run is going on already.
        """
        with self.lock.open("w") as stream:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise VicurError(
                            "this run is going on in another process.",
                            where=str(self.path),
                            remedy="Wait for it, stop it, or start a run of its own with --new.",
                        ) from error
                    time.sleep(0.1)
            yield


def open_run(root: Path, config: Section, *, new: bool = False) -> tuple[RunFolder, bool]:
    """The run to execute for ``config``, and whether it goes on with one that has not ended well.

    Args:
        root: folder of all runs.
        config: what to run.
        new: start a new run in any case.

    Raises:
        VicurError: where the folder cannot be written.
    """
    asked = {"pipeline": pipeline_of(config).name, "config": config.model_dump(mode="json")}
    if not new:
        same = [run for run in all_runs(root) if asked.items() <= run.record().items()]
        if same and not same[-1].succeeded:
            return same[-1], True
    started = datetime.now(UTC)
    stem = f"{asked['config']['name']}-{started:%Y%m%d-%H%M%S}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = _create(root, stem)
        with new_file(folder / "run.json") as file:
            record = {"run_id": folder.name, "started": started.isoformat(), **asked}
            file.write_text(json.dumps(record, indent=1), encoding="utf-8")
    except OSError as error:
        raise unwritable(root, error) from error
    return RunFolder(folder), False


def all_runs(root: Path) -> list[RunFolder]:
    """The runs below ``root``, oldest first."""
    if not root.is_dir():
        return []
    folders = [path for path in root.iterdir() if not path.is_symlink() and (path / "run.json").is_file()]
    runs = [RunFolder(path) for path in folders]
    return sorted(runs, key=lambda run: (str(run.record().get("started", "")), run.run_id))


def point_latest_at(run: RunFolder) -> None:
    """Makes ``runs/latest`` point at ``run``; the link is relative, so that the folder can be moved."""
    link = run.path.parent / LATEST
    if link.exists() and not link.is_symlink():
        return
    with new_file(link) as temporary:
        temporary.symlink_to(run.run_id)


def _create(root: Path, stem: str) -> Path:
    for count in range(1, 1000):
        folder = root / (stem if count == 1 else f"{stem}-{count}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(17, "too many runs in one second", str(root / stem))


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
