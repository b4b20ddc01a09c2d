"""Measure and remove what a project stores on disk.

Only ``runs/``, ``.vicur/`` and ``mlflow/`` are considered, and only folders in them that this project has made. Symbolic links are never
followed, and files in use are never removed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from vicur.errors import VicurError
from vicur.stage.runner import DEFAULT_CACHE, DEFAULT_SCRATCH

Kind = Literal["run", "result", "checkpoints", "tracking"]
KINDS: tuple[Kind, ...] = ("result", "checkpoints", "run", "tracking")
RUNS = Path("runs")
TRACKING = Path("mlflow")


@dataclass(frozen=True)
class Item:
    """A folder that can be removed.

    Attributes:
        kind: a ``run``, a cached ``result`` of a stage, ``checkpoints`` of an unfinished stage, or the ``tracking`` store.
        path: the folder.
        size: size in bytes without files that an earlier item of the list shares: runs share their outputs with the cache.
        in_use: whether a process is using it.
    """

    kind: Kind
    path: Path
    size: int
    in_use: bool


def survey(project: Path) -> list[Item]:
    """Return everything that can be removed below ``project``, with the oldest run first."""
    seen: set[tuple[int, int]] = set()
    items = []
    for kind in KINDS:
        for path in _folders(project, kind):
            items.append(Item(kind, path, _size(path, seen), _in_use(kind, path)))
    return items


def remove(items: list[Item]) -> int:
    """Remove items, except those that are in use by now. Returns the number of bytes that this freed.

    Raises:
        VicurError: if a folder cannot be removed.
    """
    links: Counter[tuple[int, int]] = Counter()
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    # All files are listed before any is removed: the size of a file with several names counts only if all of them go.
    selected = [(item, list(_files(item.path))) for item in items if not item.in_use]
    for item, files in selected:
        try:
            if item.kind not in ("result", "checkpoints"):
                shutil.rmtree(item.path)
            elif not _remove_unless_locked(item.path):
                continue
        except OSError as error:
            raise VicurError(
                f"cannot remove {error.filename}: {error.strerror}.",
                where=str(item.path),
                remedy="Remove the folder as the user who owns it.",
            ) from error
        for status in files:
            links[status.st_dev, status.st_ino] += 1
            sizes[status.st_dev, status.st_ino] = status.st_size, status.st_nlink
        if item.kind == "run":
            _drop_dangling_link(item.path.parent / "latest")
    # Runs hard-link their outputs to the cache, so a file takes up space until its last name is removed.
    return sum(size for inode, (size, names) in sizes.items() if links[inode] >= names)


def _folders(project: Path, kind: Kind) -> Iterator[Path]:
    """Yield the folders of one kind. Folders without a file that marks them as this project's are skipped."""
    if kind == "run":
        runs = [path for path in _subfolders(project / RUNS) if (path / "run.json").is_file()]
        yield from sorted(runs, key=lambda path: (path / "run.json").stat().st_mtime)
    elif kind == "tracking":
        store = project / TRACKING
        if store.is_dir() and not store.is_symlink() and (store / "mlflow.db").is_file():
            yield store
    else:
        for root in (DEFAULT_CACHE, DEFAULT_SCRATCH):
            for stage in _subfolders(project / root):
                for path in _subfolders(stage):
                    if (kind == "checkpoints") == (path.suffix == ".work"):
                        yield path


def _subfolders(folder: Path) -> list[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _files(folder: Path) -> Iterator[os.stat_result]:
    """Yield the status of each file below a folder."""
    try:
        entries = list(os.scandir(folder))
    # A running stage renames and removes its files, and a container may have left folders of another user.
    except (FileNotFoundError, PermissionError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        else:
            with suppress(FileNotFoundError):
                yield entry.stat(follow_symlinks=False)


def _size(folder: Path, seen: set[tuple[int, int]]) -> int:
    total = 0
    for status in _files(folder):
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            total += status.st_size
    return total


def _lock_of(result: Path) -> Path:
    """Return the lock of a cached result ``key``, its checkpoints ``key.work`` or its partial copy ``.key.host-pid.partial``."""
    key = result.name.removeprefix(".").partition(".")[0]
    return result.with_name(f"{key}.lock")


def _in_use(kind: Kind, path: Path) -> bool:
    if kind == "run":
        return _is_locked(path / ".lock")
    if kind == "tracking":
        return any(_in_use("run", run) for run in _folders(path.parent, "run"))
    lock = _lock_of(path)
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    # A lock of another user cannot be opened, and its folder cannot be removed either.
    except (Timeout, PermissionError):
        return True


def _is_locked(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        with file.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    return False


def _remove_unless_locked(result: Path) -> bool:
    """Remove a result or checkpoints. Returns false if they are in use or gone."""
    try:
        # Holding the lock keeps a stage from starting to use the result while it is removed.
        with FileLock(_lock_of(result), timeout=0):
            shutil.rmtree(result)
    except (Timeout, FileNotFoundError):
        return False
    _lock_of(result).unlink(missing_ok=True)
    return True


def _drop_dangling_link(link: Path) -> None:
    if link.is_symlink() and not link.exists():
        link.unlink()
