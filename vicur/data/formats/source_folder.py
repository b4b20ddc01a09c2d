"""A source's folder, as formats see it: its regular files by relative path, opened safely."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, ClassVar

from vicur.data.formats.archives import ENDINGS, UNREAD, Archives
from vicur.data.paths import locate, open_regular, why
from vicur.errors import VicurError

FileState = tuple[int, int] | None
"""Size in bytes and time of the last change in nanoseconds; ``None`` without a file."""


class SourceFolder:
    """A folder of untrusted files. Another process gets only its path, and lists the files again if it needs to."""

    sampled: ClassVar[int] = 200
    """Rows of a sample."""

    def __init__(self, path: Path, address: str = "") -> None:
        self.path = path
        # S3 address that the folder was fetched from; rows may name images by it.
        self.address = address.rstrip("/")
        self._noted: dict[str, FileState] | None = None

    @cached_property
    def files(self) -> tuple[str, ...]:
        """All regular files by relative POSIX path, sorted. Hidden ones and those behind links to folders are left out."""
        found = []
        pending = [""]
        while pending:
            folder = pending.pop()
            try:
                entries = list(os.scandir(self.path / folder))
            except OSError as error:
                raise VicurError(
                    f"the folder {why(error)}.",
                    where=str(self.path / folder),
                    remedy="Correct the path or its permissions.",
                ) from error
            for entry in entries:
                name = f"{folder}{entry.name}"
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{name}/")
                elif _is_regular(entry):
                    found.append(name)
        return tuple(sorted(found))

    def matching(self, patterns: Iterable[str]) -> list[str]:
        """Return the files that match a pattern. ``*`` also matches across folders."""
        wanted = [pattern.removeprefix("./") for pattern in patterns]
        return [name for name in self.files if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]

    def ending(self, *endings: str, patterns: Iterable[str] = ()) -> list[str]:
        """Return the files with one of the endings (``.csv``), and among them those that match a pattern, if there are any."""
        chosen = self.matching(patterns) if patterns else self.files
        return [name for name in chosen if name.lower().endswith(endings)]

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return (self.path / name).stat().st_size

    def exists(self, name: str) -> bool:
        """Return whether the folder has a file, or raise an error if the path leads out of it."""
        return self.locate(name).exists()

    def locate(self, name: str) -> Path:
        """Return the path of a data file, or raise an error if it leads out of the folder."""
        path = locate(self.path, name)
        self.note(name)
        return path

    def note(self, name: str) -> None:
        """Note the state of a file, inside a block of :meth:`noting`."""
        if self._noted is not None and name not in self._noted:
            self._noted[name] = file_state(self.path / name)

    def has(self, name: str) -> bool:
        """Return whether there is a data file of this name."""
        self.note(name)
        return name in self._present

    @contextmanager
    def noting(self) -> Iterator[dict[str, FileState]]:
        """Note the state of every file that is looked for inside the block, as it is before it is opened."""
        noted: dict[str, FileState] = {}
        self._noted = noted
        try:
            yield noted
        finally:
            self._noted = None

    def open(self, name: str) -> BinaryIO:
        """Open a data file.

        Raises:
            VicurError: if it is not a regular file inside the folder, or cannot be read.
        """
        path = self.locate(name)
        try:
            return open_regular(path)
        except OSError as error:
            raise VicurError(
                f"{why(error)}.", where=str(path), remedy="Correct the file or its permissions."
            ) from error

    def named(self, name: str) -> list[str]:
        """Return the files whose path ends in ``name``: ``a.png`` finds ``photos/a.png``.

        If there are none, return the members of archives whose path does: ``images.zip/a.png``.
        """
        same_name = self._by_last_part.get(name.rpartition("/")[2], ())
        found = [each for each in same_name if each == name or each.endswith(f"/{name}")]
        return found or [member.shown for member in self.archives.named(name)]

    def folders_named(self, name: str) -> list[str]:
        """Return the folders with files whose path ends in ``name``, or else those in archives (``frames.zip/clip``)."""
        same_name = self._folders_by_last_part.get(name.rpartition("/")[2], ())
        found = [each for each in same_name if each == name or each.endswith(f"/{name}")]
        return found or self.archives.folders_named(name)

    @cached_property
    def archives(self) -> Archives:
        """The archives that may have images."""
        return Archives(self.ending(*ENDINGS, *UNREAD), self.open)

    @cached_property
    def _present(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def _by_last_part(self) -> dict[str, list[str]]:
        index: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.files:
            index[name.rpartition("/")[2]].append(name)
        return index

    @cached_property
    def _folders_by_last_part(self) -> dict[str, list[str]]:
        index: defaultdict[str, list[str]] = defaultdict(list)
        for folder in dict.fromkeys(name.rpartition("/")[0] for name in self.files):
            index[folder.rpartition("/")[2]].append(folder)
        return index


def file_state(path: Path) -> FileState:
    """Return the state of a file, by which a change of it is noticed."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def _is_regular(entry: os.DirEntry[str]) -> bool:
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:  # a dangling link, or a loop of links
        return False
