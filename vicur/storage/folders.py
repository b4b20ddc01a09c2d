"""Where bytes live: folders that are whole or absent.

Every output is written beside its place and renamed into it, so a folder that exists is whole and an interrupted writer
leaves what was there before untouched. Killed writers leave hidden leftovers (``.name.host-pid.partial``); whoever
writes to the same place next removes them.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vicur.errors import VicurError

_CHUNK = 1 << 20
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside ``path``; on success it takes the place of ``path``, on failure it is removed.

    Args:
        path: the folder to create or to replace.

    Raises:
        VicurError: where the folder cannot be written.
    """
    # Behind a link, it is the folder that the link names: the link stays.
    path = path.resolve()
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file has this name", str(path))
        partial.mkdir()
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield partial
        _put_in_place(partial, path)
    finally:
        # Gone after a success, unless it now holds what ``path`` was before.
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yields a path beside ``path`` to write to; on success it takes the place of ``path``, on failure it is removed.

    Raises:
        VicurError: where the file cannot be written.
    """
    path = path.absolute()
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.filename == str(partial):
            raise unwritable(path, error) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Removes what killed writers to ``path`` left beside it, and brings ``path`` back where one died between two
    renames.
    """
    for leftover in path.parent.glob(f".{path.name}.*"):
        owner, _, state = leftover.name.removeprefix(f".{path.name}.").rpartition(".")
        host, _, pid = owner.rpartition("-")
        if state not in ("partial", "old") or host != socket.gethostname() or not pid.isdigit():
            continue
        if int(pid) != os.getpid() and _is_alive(int(pid)):
            continue
        if state == "old" and not path.exists():
            leftover.rename(path)
        elif leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sweep_below(folder: Path) -> None:
    """Removes what killed writers left anywhere below ``folder``, as :func:`sweep` does for one path."""
    for leftover in [*folder.rglob(".*.partial"), *folder.rglob(".*.old")]:
        name = leftover.name[1:].rpartition(".")[0].rpartition(".")[0]
        if name:
            sweep(leftover.with_name(name))


def partial_of(path: Path) -> Path:
    """Where this process may keep what it writes for ``path`` meanwhile: once it is dead, :func:`sweep` of ``path`` removes it."""
    return _beside(path, "partial")


def _beside(path: Path, state: str) -> Path:
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.{state}")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _put_in_place(partial: Path, path: Path) -> None:
    """Gives ``partial`` the name ``path``. A folder cannot be renamed over one with content, so the two swap names.

    Where the file system cannot swap, the old one steps aside first; a kill between the two renames is mended by
    :func:`sweep`.
    """
    if not path.exists():
        partial.rename(path)
        return
    if _exchange(partial, path):
        return
    old = _beside(path, "old")
    path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swaps two names in one atomic step; false where system or file system cannot (Linux can, on its local file
    systems).
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))


def unwritable(path: Path, error: OSError) -> VicurError:
    """The error to raise where ``path`` cannot be written."""
    return VicurError(
        f"cannot be written ({error.strerror or error}).",
        where=str(path),
        remedy="Choose a folder that this user can write to, or mend its permissions or the disk it is on.",
    )


def link_or_copy(source: Path, target: Path) -> None:
    """Makes ``target`` a copy of folder ``source``, with hard links where the file system has them.

    Outputs are never changed in place (a new folder is renamed over the old one), so they can share their bytes.
    """
    with new_folder(target) as partial:
        for file in files_below(source):
            place = partial / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, place)
            except OSError:
                shutil.copy2(file, place)


def files_below(folder: Path) -> list[Path]:
    """All files below ``folder``, sorted by their relative POSIX path (the same order on every machine)."""
    return sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.relative_to(folder).as_posix())


def folder_listing(folder: Path) -> list[list[Any]] | None:
    """Return name, size and modification time of each file below a folder, or ``None`` if the folder does not exist.

    Use it to notice changes where hashing every byte would take too long.
    """
    if not folder.is_dir():
        return None
    stats = {path.relative_to(folder).as_posix(): path.stat() for path in files_below(folder)}
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def tree_sha256(path: Path) -> str:
    """SHA-256 over the relative paths and bytes of all files below a folder (or of one file), in hex.

    Raises:
        VicurError: where there is nothing at ``path``.
    """
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        raise VicurError(
            "does not exist.", where=str(path), remedy="Correct the path, or run the stage that writes it first."
        )
    digest = hashlib.sha256()
    for file in files_below(path):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file_sha256(file)}\n".encode())
    return digest.hexdigest()
