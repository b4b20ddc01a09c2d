"""Paths of files in untrusted folders: nothing outside the folder is opened, and nothing but regular files."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from vicur.errors import VicurError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_inside(name: str) -> bool:
    """Check that a relative path stays below its folder: not absolute, and without ``..``."""
    # A dataset is read on any operating system, so the path must be safe under the rules of each.
    windows = PureWindowsPath(name)
    absolute = PurePosixPath(name).is_absolute() or windows.is_absolute() or windows.drive or windows.root
    return not absolute and ".." not in windows.parts and "\0" not in name and bool(windows.parts)


def locate(folder: Path, name: str) -> Path:
    """Return the path of a file that a row names, or raise an error if it would be outside the folder."""
    if not is_inside(name):
        raise VicurError(
            f"{name!r} is not a path inside the folder.",
            where=str(folder),
            remedy="Write the path relative to the folder.",
        )
    path = folder / name
    # A symbolic link may still lead outside. Unlike Path.resolve(), realpath() accepts loops, which fail when they are opened.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise VicurError(
            f"{name!r} leads out of the folder through a symbolic link.",
            where=str(folder),
            remedy="Copy the file into the folder.",
        )
    return path


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, or raise an ``OSError`` if it is anything else, such as a pipe, which would block forever."""
    # Opening a device can have effects, so look first; and look again, because the name may mean another file by now.
    _require_regular(path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _require_regular(os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"is {_KINDS.get(stat.S_IFMT(mode), 'not a regular file')}, not a file")


def why(error: Exception) -> str:
    """Return the reason of a failed access as a clause that continues the file's name."""
    if isinstance(error, OSError):
        if error.errno == errno.ELOOP:
            return "is a loop of symbolic links"
        if error.errno == errno.EINVAL and error.strerror and error.strerror.startswith("is "):
            return error.strerror
        return f"cannot be read ({error.strerror or error})"
    return f"cannot be read ({error})"
