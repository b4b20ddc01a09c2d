"""Fetches the files of a dataset side by side. What is there and right is not fetched again; a cut-off file goes on where it stopped."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from vicur.data.folder import is_inside
from vicur.data.pin import file_md5
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.storage.folders import files_below
from vicur.storage.object_store import Objects

_AT_ONCE = 8


@dataclass(frozen=True)
class WantedFile:
    """A file of a dataset.

    Attributes:
        path: where it goes, relative to the dataset's folder.
        key: the object that holds it.
        md5: hash of its bytes, where that is known.
        size: its bytes, where that is known.
        version: version of the object, where that is known.
    """

    path: str
    key: str
    md5: str | None = None
    size: int | None = None
    version: str = ""

    def is_right(self, file: Path) -> bool:
        """Whether a file on this machine is it, as far as it is known."""
        if self.size is not None and file.stat().st_size != self.size:
            return False
        return self.md5 is None or file_md5(file) == self.md5


def fetch(wanted: Sequence[WantedFile], objects: Objects, work: Path, events: Events) -> Path:
    """Fetches files.

    Args:
        wanted: what to fetch.
        objects: where from.
        work: folder that outlives a kill. Call again with the same to go on.
        events: progress.

    Returns:
        The folder with exactly the wanted files, below ``work``.

    Raises:
        VicurError: for a path that leads out of the folder, and for a file that is missing, damaged or cannot be fetched. What has
            come until then stays in ``work``.
    """
    require_paths([each.path for each in wanted], objects.address)
    folder, parts = work / "files", work / "parts"
    for each in (folder, parts):
        each.mkdir(parents=True, exist_ok=True)
    for stranger in {path.relative_to(folder).as_posix() for path in files_below(folder)} - {
        each.path for each in wanted
    }:
        (folder / stranger).unlink()
    progress = _Progress(len(wanted), events)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = [pool.submit(_fetch_one, each, objects, folder, parts, progress) for each in wanted]
        try:
            for done in as_completed(running):
                done.result()
        finally:
            # After the first failure, or Ctrl-C, nobody waits for the rest.
            progress.stop.set()
            pool.shutdown(cancel_futures=True)
    return folder


def require_paths(paths: Sequence[str], where: str) -> None:
    """Refuses paths that would not lie in one folder, each in its own place.

    Raises:
        VicurError: for a path that is absolute, has ``..`` or is not in its plainest form, for one that stands there twice, and for one
            that is both a file and a folder.
    """
    seen: set[str] = set()
    for path in paths:
        if not is_inside(path) or any(part in ("", ".") for part in path.split("/")):
            raise _refused(f"names the file {path!r}, which is not a path inside a dataset's folder", where)
        if path in seen:
            raise _refused(f"names the file {path!r} twice", where)
        seen.add(path)
    for path in paths:
        parents = path.split("/")[:-1]
        for depth in range(len(parents)):
            if (folder := "/".join(parents[: depth + 1])) in seen:
                raise _refused(f"names {folder!r} as a file and as a folder", where)


def _refused(problem: str, where: str) -> VicurError:
    return VicurError(
        f"{problem}.", where=where, remedy="Use another source: this one was not written by DVC or vicur."
    )


def _fetch_one(wanted: WantedFile, objects: Objects, folder: Path, parts: Path, progress: _Progress) -> None:
    file = folder / wanted.path
    if not (file.is_file() and wanted.is_right(file)):
        part = parts / hashlib.sha256(f"{wanted.path}\0{wanted.key}\0{wanted.version}".encode()).hexdigest()[:32]
        begun = part.exists()
        objects.copy(wanted.key, part, progress.told, wanted.version)
        if begun and not wanted.is_right(part):
            # What an earlier attempt left may be at fault, not the object.
            part.unlink()
            objects.copy(wanted.key, part, progress.told, wanted.version)
        if not wanted.is_right(part):
            part.unlink()
            raise VicurError(
                f"is damaged: it does not hold the bytes of {wanted.path!r}.",
                where=f"{objects.address}/{wanted.key}",
                remedy="Delete it there, and upload it again from a machine that has the right file (dvc push).",
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        part.replace(file)
    progress.one_more()


class _Progress:
    """Counts what several threads fetch, and stops them."""

    def __init__(self, files: int, events: Events) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._files = files
        self._events = events
        self._done = 0
        self._bytes = 0

    def told(self, count: int) -> None:
        """Bytes have come."""
        if self.stop.is_set():
            raise _StoppedError
        with self._lock:
            self._bytes += count
            self._tell()

    def one_more(self) -> None:
        """A file is there and right."""
        with self._lock:
            self._done += 1
            self._tell()

    def _tell(self) -> None:
        self._events.progress(self._done, self._files, f"files, {self._bytes / 1e6:,.0f} MB fetched")


class _StoppedError(Exception):
    """Another file has failed."""
