"""Atomic writes: a folder or file that exists is complete.

Every output is written next to its final path and renamed, so an interrupted writer never damages what was there before. Processes that
were killed leave hidden files (``.name.host-pid.partial``), which the next writer to the same path removes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vicur.errors import VicurError

_CHUNK = 1 << 20
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_FICLONE = 0x40049409
_WRITABLE = 0o222


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``path`` on success and is removed on failure.

    Raises:
        VicurError: if the folder cannot be written, or ``path`` is a file.
    """
    # If path is a symbolic link, replace its target and keep the link.
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
        # After a swap of the two names, this is the folder that was replaced.
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to. The file replaces ``path`` on success and is removed on failure."""
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
        # The body of the with statement may fail on other files, which are not ours to report.
        if error.filename == str(partial):
            raise unwritable(path, error) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove what killed writers to ``path`` left behind. Restore ``path`` if one died between two renames."""
    # Not glob: it would compile a pattern for each path, and read brackets in a name as part of it.
    prefix = f".{path.name}."
    leftovers: list[str] = []
    with suppress(OSError), os.scandir(path.parent) as entries:
        leftovers = [entry.path for entry in entries if entry.name.startswith(prefix)]
    for leftover in map(Path, leftovers):
        owner, _, state = leftover.name.removeprefix(prefix).rpartition(".")
        host, _, pid = owner.rpartition("-")
        # On a shared file system, processes of other machines cannot be looked up: leave their files alone.
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
    """Call :func:`sweep` for every path below ``folder`` that has leftovers."""
    for leftover in [*folder.rglob(".*.partial"), *folder.rglob(".*.old")]:
        name = leftover.name[1:].rpartition(".")[0].rpartition(".")[0]
        if name:
            sweep(leftover.with_name(name))


def partial_of(path: Path) -> Path:
    """Return the temporary path of this process for ``path``, which :func:`sweep` removes if the process is killed."""
    return _temporary(path, "partial")


def _temporary(path: Path, state: str) -> Path:
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.{state}")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists and belongs to another user
        return True
    return True


def _put_in_place(partial: Path, path: Path) -> None:
    if not path.exists():
        partial.rename(path)
        return
    # rename() cannot replace a folder that is not empty, so swap the two names.
    if _exchange(partial, path):
        return
    # Not every file system can swap. sweep() repairs a kill between these two renames.
    old = _temporary(path, "old")
    path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names atomically. Return false if the system or its file system cannot (Linux can on local ones)."""
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
    """Return the error to raise if ``path`` cannot be written."""
    return VicurError(
        f"cannot be written ({error.strerror or error}).",
        where=str(path),
        remedy="Choose a folder that this user can write to, or check its permissions and free space.",
    )


def link_or_copy(source: Path, target: Path) -> None:
    """Copy ``source``, a folder of results, to ``target``, with hard links if the file system supports them.

    Not for files of the user: editing one name of a linked file in place edits the other, too.
    """
    # Copies can share their bytes because results are never changed in place, only replaced.
    _copy(source, target, os.link)


def copy_folder(source: Path, target: Path) -> None:
    """Copy the folder ``source`` to ``target``. File systems that can clone files share the bytes until one copy is edited."""
    _copy(source, target, _clone)


def _copy(source: Path, target: Path, place: Callable[[Path, Path], None]) -> None:
    with new_folder(target) as partial:
        for file in files_below(source):
            copied = partial / file.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            try:
                place(file, copied)
            except OSError:
                shutil.copy2(file, copied)


def _clone(file: Path, copied: Path) -> None:
    """Copy a file on Linux by reference (XFS, Btrfs). Raises an ``OSError`` if the file system cannot."""
    with file.open("rb") as read, copied.open("wb") as written:
        fcntl.ioctl(written, _FICLONE, read.fileno())
    shutil.copystat(file, copied)


def protect(folder: Path) -> None:
    """Make all files below a folder read-only, if the file system can. They can still be replaced and removed."""
    # Some have no modes. This guards against accidental edits only, for which no result must be lost.
    with suppress(PermissionError):
        for file in files_below(folder):
            file.chmod(file.stat().st_mode & ~_WRITABLE)


def files_below(folder: Path) -> list[Path]:
    """Return all files below ``folder``, sorted by relative POSIX path, which gives the same order on every machine."""
    return sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.relative_to(folder).as_posix())


def folder_listing(folder: Path) -> list[list[Any]] | None:
    """Return name, size and modification time of each file below a folder, or ``None`` if the folder does not exist."""
    if not folder.is_dir():
        return None
    stats = {path.relative_to(folder).as_posix(): path.stat() for path in files_below(folder)}
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def tree_sha256(path: Path) -> str:
    """Return one SHA-256, in hex, of the relative paths and bytes of all files below a folder, or of a single file."""
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
