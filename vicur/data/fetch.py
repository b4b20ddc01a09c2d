"""Fetches the files of a dataset or model in parallel. Intact files are kept, and partial ones resume where they stopped."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from vicur.data.paths import is_inside
from vicur.data.pin import file_md5
from vicur.data.verification import Verification, verify
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.storage.folders import file_sha256, files_below
from vicur.storage.object_store import Objects

_THREADS = 8
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class RemoteFile:
    """An object to fetch to ``path``, which is relative to the folder. Its hashes, size and version are checked if known."""

    path: str
    key: str
    md5: str | None = None
    sha256: str | None = None
    size: int | None = None
    version: str = ""

    @property
    def etag(self) -> str | None:
        """Return the version if it looks like an MD5, as most stores' ETags are, and no hash is known."""
        known = self.md5 or self.sha256
        return self.version if not known and _MD5.fullmatch(self.version) else None

    def matches(self, file: Path) -> bool:
        """Check a local file against the known size and hash."""
        if self.size is not None and file.stat().st_size != self.size:
            return False
        if self.sha256 is not None and file_sha256(file) != self.sha256:
            return False
        return self.md5 is None or file_md5(file) == self.md5


def fetch(files: Sequence[RemoteFile], objects: Objects, work: Path, events: Events) -> Path:
    """Fetch files into a folder below ``work``, and return that folder, which then has exactly these files.

    After an interruption or an error, the next call with the same ``work`` resumes.

    Raises:
        VicurError: if a path would leave the folder, or a file is missing, damaged or cannot be fetched.
    """
    require_paths([file.path for file in files], objects.address)
    folder, parts = work / "files", work / "parts"
    for each in (folder, parts):
        each.mkdir(parents=True, exist_ok=True)
    present = {path.relative_to(folder).as_posix() for path in files_below(folder)}
    for unexpected in present - {file.path for file in files}:
        (folder / unexpected).unlink()
    progress = _Progress(len(files), events)
    with ThreadPoolExecutor(_THREADS) as pool:
        running = [pool.submit(_fetch_one, file, objects, folder, parts, progress) for file in files]
        try:
            for done in as_completed(running):
                done.result()
        finally:
            # After the first failure or Ctrl-C, do not wait for large downloads.
            progress.stop.set()
            pool.shutdown(cancel_futures=True)
    return folder


def verify_fetched(folder: Path, address: str) -> Verification:
    """Verify a prepared dataset that was fetched to ``folder``. If it is damaged, remove it, so that the next attempt fetches it again.

    Raises:
        VicurError: if it is damaged.
    """
    try:
        return verify(folder)
    except VicurError as error:
        shutil.rmtree(folder, ignore_errors=True)
        place = (error.where or "").removeprefix(f"{folder}/")
        raise VicurError(
            f"the dataset that was fetched is damaged: {place}: {error.problem}",
            where=address,
            remedy="Run it again. If that does not help, upload the dataset again.",
        ) from error


def require_paths(paths: Sequence[str], where: str) -> None:
    """Raise an error unless the paths are normalised, distinct files inside one folder."""
    seen: set[str] = set()
    for path in paths:
        if not is_inside(path) or any(part in ("", ".") for part in path.split("/")):
            raise _unsafe(f"lists the file {path!r}, which is not a path inside a folder", where)
        if path in seen:
            raise _unsafe(f"lists the file {path!r} twice", where)
        seen.add(path)
    # A file "a" and a file "a/b" cannot both exist.
    for path in paths:
        parents = path.split("/")[:-1]
        for depth in range(len(parents)):
            if (folder := "/".join(parents[: depth + 1])) in seen:
                raise _unsafe(f"lists {folder!r} as a file and as a folder", where)


def _unsafe(problem: str, where: str) -> VicurError:
    return VicurError(
        f"{problem}.", where=where, remedy="Use another source: this one was not written by DVC or vicur."
    )


def _fetch_one(wanted: RemoteFile, objects: Objects, folder: Path, parts: Path, progress: _Progress) -> None:
    file = folder / wanted.path
    if not (file.is_file() and wanted.matches(file)):
        # The name depends on the version: a partial file of an earlier version must not be continued.
        part = parts / hashlib.sha256(f"{wanted.path}\0{wanted.key}\0{wanted.version}".encode()).hexdigest()[:32]
        objects.copy(wanted.key, part, progress.add_bytes, wanted.version)
        if not wanted.matches(part):
            # The partial file of an earlier attempt may be wrong, or this transfer, rather than the object.
            part.unlink()
            objects.copy(wanted.key, part, progress.add_bytes, wanted.version)
        elif wanted.etag is not None and (first := file_md5(part)) != wanted.etag:
            # Encrypting stores have ETags that only look like MD5s. Then the second transfer equals the first.
            part.unlink()
            objects.copy(wanted.key, part, progress.add_bytes, wanted.version)
            if file_md5(part) not in (first, wanted.etag):
                part.unlink()
                raise _damaged(wanted, objects)
        if not wanted.matches(part):
            part.unlink()
            raise _damaged(wanted, objects)
        # Only complete and verified files are moved to the folder.
        file.parent.mkdir(parents=True, exist_ok=True)
        part.replace(file)
    progress.add_file()


def _damaged(wanted: RemoteFile, objects: Objects) -> VicurError:
    return VicurError(
        f"is damaged: it does not have the content of {wanted.path!r}.",
        where=f"{objects.address}/{wanted.key}",
        remedy="Delete it there, and upload it again from a machine that has the right file"
        f"{' (dvc push)' if wanted.md5 else ''}.",
    )


class _Progress:
    """Counts files and bytes over all threads, and stops the threads."""

    def __init__(self, files: int, events: Events) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._total = files
        self._events = events
        self._done = 0
        self._bytes = 0

    def add_bytes(self, count: int) -> None:
        # An exception here is the only way to stop a copy that another thread is making.
        if self.stop.is_set():
            raise _StoppedError
        with self._lock:
            self._bytes += count
            self._report()

    def add_file(self) -> None:
        with self._lock:
            self._done += 1
            self._report()

    def _report(self) -> None:
        self._events.progress(self._done, self._total, f"files, {self._bytes / 1e6:,.0f} MB fetched")


class _StoppedError(Exception):
    """Raised in the other threads after one file has failed."""
