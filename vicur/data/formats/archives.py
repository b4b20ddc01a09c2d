"""Images in zip and tar archives of a source, such as ``images.zip`` next to ``train.json``. They are read in place.

Archives are not trusted. Nothing is unpacked to disk; members that are links, lead out of the archive or are encrypted do not exist; a
member is read only up to the size of the largest image. An archive with too many members, or one that is damaged, is not read, and the
message about a missing image says so.
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

from vicur.data.paths import is_inside
from vicur.errors import VicurError

ENDINGS = (".zip", ".tar")
UNREAD = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".rar", ".7z")
"""Archives without access to single members."""
MOST_MEMBERS = 1_000_000
_LARGEST_DIRECTORY = 64 << 20  # bytes of a zip's list of members, which is read as a whole
_LARGEST_RATIO = 1000  # of a member's size to its compressed size; images are compressed already
_SMALL = 1 << 20  # bytes that any member may have
_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


class ArchiveError(Exception):
    """Raised for an archive or a member that cannot be read, with the reason as a clause."""


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    archive: str
    """The archive, relative to the source."""
    name: str
    """Its path in the archive."""
    size: int
    place: int | zipfile.ZipInfo
    """Where its bytes are."""

    @property
    def shown(self) -> str:
        """Return its path with the archive as a folder: ``images.zip/a.png``."""
        return f"{self.archive}/{self.name}"

    @property
    def path(self) -> str:
        """Return the path that it would have if the archive were unpacked where it is: ``images/a.png``."""
        return f"{self.archive[: -len('.zip')]}/{self.name}"


class Archives:
    """The archives of a source. Each is opened and listed when the first image is looked for that is not a file.

    Args:
        names: archives, relative to the source.
        opened: opens one of them.
    """

    def __init__(self, names: list[str], opened: Callable[[str], BinaryIO]) -> None:
        self._names = names
        self._opened = opened
        self._streams: dict[str, BinaryIO | zipfile.ZipFile] = {}
        self.unread: dict[str, str] = {
            name: "has to be unpacked first" for name in names if name.lower().endswith(UNREAD)
        }
        """Reason why an archive is not read, by its name, as a clause."""

    def named(self, name: str) -> list[Member]:
        """Return the members whose path ends in ``name``."""
        return [
            each
            for each in self._by_last_part.get(name.rpartition("/")[2], ())
            if each.path == name or each.path.endswith(f"/{name}")
        ]

    def shown(self, path: str) -> Member | None:
        """Return the member that :attr:`Member.shown` names."""
        return next((each for each in self._by_last_part.get(path.rpartition("/")[2], ()) if each.shown == path), None)

    def folders_named(self, name: str) -> list[str]:
        """Return the folders whose path ends in ``name``, as :attr:`Member.shown` begins."""
        return [
            shown
            for shown, path in self._folder_paths.get(name.rpartition("/")[2], ())
            if any(each == name or each.endswith(f"/{name}") for each in (shown, path))
        ]

    def members_of(self, folder: str) -> list[Member]:
        """Return the members of a folder that :meth:`folders_named` returned."""
        return self._by_folder.get(folder, [])

    def read(self, member: Member, most: int) -> bytes:
        """Return the bytes of a member, at most ``most + 1``.

        Raises:
            ArchiveError: if it is damaged, encrypted or suspiciously small.
        """
        stream = self._streams[member.archive]
        try:
            if isinstance(member.place, int):
                assert not isinstance(stream, zipfile.ZipFile)
                stream.seek(member.place)
                data = stream.read(min(member.size, most + 1))
                if len(data) < min(member.size, most + 1):
                    raise ArchiveError("is cut off in its archive")
                return data
            assert isinstance(stream, zipfile.ZipFile)
            if member.place.flag_bits & 1:
                raise ArchiveError("is encrypted in its archive")
            if member.place.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # LZMA's header may demand gigabytes of memory.
                raise ArchiveError("is compressed by a method that is not read (only stored and deflated members are)")
            if member.size > max(_SMALL, _LARGEST_RATIO * member.place.compress_size):
                raise ArchiveError(f"decompresses to more than {_LARGEST_RATIO} times its size in the archive")
            with stream.open(member.place) as file:
                return file.read(most + 1)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
            raise ArchiveError(f"cannot be read from its archive ({error})") from error

    @cached_property
    def _by_last_part(self) -> dict[str, list[Member]]:
        index: dict[str, list[Member]] = {}
        for name in self._names:
            if name in self.unread:
                continue
            try:
                members = list(self._zip(name) if name.lower().endswith(".zip") else self._tar(name))
            except (
                ArchiveError,
                VicurError,
                tarfile.TarError,
                zipfile.BadZipFile,
                OSError,
                EOFError,
                ValueError,
                RuntimeError,
            ) as error:
                self.unread[name] = f"cannot be read ({error})" if not isinstance(error, ArchiveError) else str(error)
                continue
            for each in members:
                index.setdefault(each.name.rpartition("/")[2], []).append(each)
        return index

    @cached_property
    def _by_folder(self) -> dict[str, list[Member]]:
        index: dict[str, list[Member]] = {}
        for members in self._by_last_part.values():
            for each in members:
                index.setdefault(each.shown.rpartition("/")[0], []).append(each)
        return index

    @cached_property
    def _folder_paths(self) -> dict[str, list[tuple[str, str]]]:
        """Paths of the folders, with the archive as a folder and as if it were unpacked, by their last part."""
        index: dict[str, list[tuple[str, str]]] = {}
        for shown, members in self._by_folder.items():
            path = members[0].path.rpartition("/")[0]
            for last in {shown.rpartition("/")[2], path.rpartition("/")[2]}:
                index.setdefault(last, []).append((shown, path))
        return index

    def _zip(self, name: str) -> Iterator[Member]:
        stream = self._opened(name)
        _require_small_directory(stream)
        archive = zipfile.ZipFile(stream)
        self._streams[name] = archive
        found = archive.infolist()
        _require_few(len(found))
        for each in found:
            # The upper half has the mode of Unix, in which links and devices are marked.
            kind = (each.external_attr >> 16) & 0o170000
            if not each.is_dir() and kind in (0, 0o100000) and is_inside(each.filename):
                yield Member(name, each.filename, each.file_size, each)

    def _tar(self, name: str) -> Iterator[Member]:
        stream = self._opened(name)
        self._streams[name] = stream
        count = 0
        archive: Any
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # tarfile would keep all of them
                count += 1
                _require_few(count)
                path = member.name.removeprefix("./")
                if member.isreg() and not member.issparse() and is_inside(path):
                    yield Member(name, path, member.size, member.offset_data)


def _require_few(members: int) -> None:
    if members > MOST_MEMBERS:
        raise ArchiveError(f"has more than {MOST_MEMBERS:,} members")


def _require_small_directory(stream: BinaryIO) -> None:
    """Raise an error if the list of members of a zip file would take too much memory. zipfile reads it as a whole."""
    length = stream.seek(0, 2)
    start = max(0, length - (1 << 16) - 22)
    stream.seek(start)
    tail = stream.read()
    place = tail.rfind(_END)
    if place < 0 or len(tail) < place + 22:
        raise ArchiveError("is not a zip archive, or cut off")
    size = struct.unpack_from("<L", tail, place + 12)[0]
    locator = tail.rfind(_LOCATOR, 0, place)
    if locator >= 0 and len(tail) >= locator + 20:
        stream.seek(min(struct.unpack_from("<Q", tail, locator + 8)[0], length))
        record = stream.read(56)
        if record[:4] == _END64 and len(record) == 56:
            size = struct.unpack_from("<Q", record, 40)[0]
    if size > _LARGEST_DIRECTORY:
        raise ArchiveError(f"has a list of members of more than {_LARGEST_DIRECTORY >> 20} MiB")
    stream.seek(0)
