"""Folders of local runs.

``runs/<run id>/`` contains ``run.json`` (the pipeline and its configuration), ``events.jsonl``, ``logs/`` (one file per step),
``pipeline/`` (outputs of the steps), the report or the page of results and, once the run has ended, ``summary.json``. ``runs/latest``
links to the newest run.

The same configuration resumes a run that has not succeeded, and starts a new run otherwise.
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
# The pipeline of a supervisor that was killed needs a moment to end.
_PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def outputs(self) -> Path:
        return self.path / "pipeline"

    @property
    def temporary(self) -> Path:
        # For temporary files of the steps. It is removed when the run ends.
        return self.path / "tmp"

    @property
    def summary(self) -> Path:
        # Exists once the run has ended.
        return self.path / "summary.json"

    @property
    def lock(self) -> Path:
        # Locked by the supervisor while it runs.
        return self.path / ".lock"

    def record(self) -> dict[str, Any]:
        # Empty if run.json cannot be read.
        return _json(self.path / "run.json")

    def config(self) -> Section:
        record = self.record()
        return PIPELINES[record["pipeline"]].config.model_validate(record["config"])

    @property
    def succeeded(self) -> bool:
        return _json(self.summary).get("status") == "succeeded"

    def prepare(self) -> None:
        """Remove what an earlier execution left behind. Logs are kept and appended to."""
        for folder in (self.outputs, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        self.logs.mkdir(exist_ok=True)
        self.events.write_bytes(b"")
        self.summary.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock of the run.

        Raises:
            VicurError: if another process is running it.
        """
        # The kernel releases the lock when the process ends, however it ends.
        with self.lock.open("w") as stream:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise VicurError(
                            "another process is running this run.",
                            where=str(self.path),
                            remedy="Wait for it, stop it, or start a separate run with --new.",
                        ) from error
                    time.sleep(0.1)
            yield


def open_run(root: Path, config: Section, *, new: bool = False) -> tuple[RunFolder, bool]:
    """Return the run to execute for ``config``, and whether it resumes an earlier one. With ``new``, it never does.

    Raises:
        VicurError: if the folder cannot be written.
    """
    requested = {"pipeline": pipeline_of(config).name, "config": config.model_dump(mode="json")}
    if not new:
        same = [run for run in all_runs(root) if requested.items() <= run.record().items()]
        if same and not same[-1].succeeded:
            return same[-1], True
    started = datetime.now(UTC)
    stem = f"{requested['config']['name']}-{started:%Y%m%d-%H%M%S}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = _create(root, stem)
        with new_file(folder / "run.json") as file:
            record = {"run_id": folder.name, "started": started.isoformat(), **requested}
            file.write_text(json.dumps(record, indent=1), encoding="utf-8")
    except OSError as error:
        raise unwritable(root, error) from error
    return RunFolder(folder), False


def all_runs(root: Path) -> list[RunFolder]:
    if not root.is_dir():
        return []
    folders = [path for path in root.iterdir() if not path.is_symlink() and (path / "run.json").is_file()]
    runs = [RunFolder(path) for path in folders]
    return sorted(runs, key=lambda run: (str(run.record().get("started", "")), run.run_id))


def point_latest_at(run: RunFolder) -> None:
    """Make ``runs/latest`` a link to ``run``. It is relative, so that the folder can be moved."""
    link = run.path.parent / LATEST
    if link.exists() and not link.is_symlink():
        # A file or folder of the user.
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
