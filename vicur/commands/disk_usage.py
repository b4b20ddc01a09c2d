"""What takes disk in a project's folder, and removing what its owner names.

Only folders that this project makes are looked at: ``runs/``, ``.vicur/`` and ``mlflow/``. Symbolic links are never followed,
what is in use is left alone, and so is whatever somebody else put there.
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

from vicur.stage.runner import DEFAULT_CACHE, DEFAULT_SCRATCH

Kind = Literal["run", "result", "checkpoints", "tracking"]
KINDS: tuple[Kind, ...] = ("result", "checkpoints", "run", "tracking")
RUNS = Path("runs")
TRACKING = Path("mlflow")


@dataclass(frozen=True)
class Item:
    """Something that takes disk.

    Attributes:
        kind: a whole ``run``; a kept ``result`` of a stage; ``checkpoints`` of unfinished work; the ``tracking`` store.
        path: its folder.
        size: bytes that no item before it in the list shares (runs share their outputs with the kept results).
        in_use: whether a process works on it now.
    """

    kind: Kind
    path: Path
    size: int
    in_use: bool


def survey(project: Path) -> list[Item]:
    """Everything that takes disk below ``project``, the oldest run first."""
    seen: set[tuple[int, int]] = set()
    items = []
    for kind in KINDS:
        for path in _folders(project, kind):
            items.append(Item(kind, path, _size(path, seen), _in_use(kind, path)))
    return items


def remove(items: list[Item]) -> int:
    """Removes items, but none that is in use by now, and returns how many bytes that gave back to the disk."""
    links: Counter[tuple[int, int]] = Counter()
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    doomed = [(item, list(_files(item.path))) for item in items if not item.in_use]
    for item, files in doomed:
        if item.kind in ("result", "checkpoints"):
            if not _remove_unless_locked(item.path):
                continue
        else:
            shutil.rmtree(item.path)
        for status in files:
            links[status.st_dev, status.st_ino] += 1
            sizes[status.st_dev, status.st_ino] = status.st_size, status.st_nlink
        if item.kind == "run":
            _drop_dangling_link(item.path.parent / "latest")
    # A file is gone only when its last name is.
    return sum(size for inode, (size, names) in sizes.items() if links[inode] >= names)


def _folders(project: Path, kind: Kind) -> Iterator[Path]:
    """Folders of one kind; what carries no mark of this project is not among them."""
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
    """What the disk says of each file below ``folder``; whoever works there may rename and remove files meanwhile."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
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
    """The lock of a kept result ``key``, of its checkpoints ``key.work``, or of what is written of it, ``.key.host-pid.partial``."""
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
    except Timeout:
        return True


def _is_locked(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _remove_unless_locked(result: Path) -> bool:
    """Removes a result or checkpoints while nobody can begin to use them; false where somebody has."""
    try:
        with FileLock(_lock_of(result), timeout=0):
            shutil.rmtree(result)
    except (Timeout, FileNotFoundError):
        return False
    _lock_of(result).unlink(missing_ok=True)
    return True


def _drop_dangling_link(link: Path) -> None:
    if link.is_symlink() and not link.exists():
        link.unlink()
