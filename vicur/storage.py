"""Where bytes live: folders that are whole or absent.

Every output is written beside its place and renamed into it, so a folder that exists is whole and an interrupted writer
leaves what was there before untouched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vicur.errors import VicurError

_CHUNK = 1 << 20


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside ``path``; on success it takes the place of ``path``, on failure it is removed.

    Args:
        path: the folder to create or to replace.

    Raises:
        VicurError: where the folder cannot be written.
    """
    path = path.absolute()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield partial
        _replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yields a path beside ``path`` to write to; on success it takes the place of ``path``, on failure it is removed."""
    path = path.absolute()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except PermissionError as error:
        raise unwritable(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _replace(partial: Path, path: Path) -> None:
    """Renames ``partial`` to ``path``. A folder cannot be renamed over one with content: the old one steps aside first."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(partial, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def unwritable(path: Path, error: OSError) -> VicurError:
    """The error to raise where ``path`` cannot be written."""
    return VicurError(
        f"cannot be written ({error.strerror or error}).",
        where=str(path),
        remedy="Choose a folder that this user can write to, or mend its permissions or the disk it is on.",
    )


def link_or_copy(source: Path, target: Path) -> None:
    """Makes ``target`` a copy of folder ``source``, with hard links where the file system has them.

    Outputs are never changed in place (a new folder is renamed over the old one), so sharing their bytes is safe.
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
        raise VicurError("does not exist.", where=str(path), remedy="Run the stage that writes it first.")
    digest = hashlib.sha256()
    for file in files_below(path):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file_sha256(file)}\n".encode())
    return digest.hexdigest()
