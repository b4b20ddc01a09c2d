"""Installs a model: fetches it next to its final path, verifies it, and renames it. Does nothing if it is installed already."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from vicur.config.model_address import MODELS_VARIABLE
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.storage.folders import new_folder, unwritable
from vicur.storage.s3 import S3Folders, is_s3
from vicur.weights.base_model import model_parameters
from vicur.weights.record import RECORD, Record, check, is_unchanged, parse_record, read_record
from vicur.weights.sources import ModelSource
from vicur.wording import listed

log = logging.getLogger(__name__)

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_SHOWN = 8  # skipped files in a log line


@dataclass(frozen=True)
class Installed:
    """A model in its final place."""

    place: str  # folder or S3 address
    record: Record
    fetched: bool  # false if it was installed before
    skipped: list[str] = field(default_factory=list)  # files of the source that were left out


@dataclass(frozen=True)
class _Order:
    """What to install, and how."""

    source: ModelSource
    name: str
    replace: bool
    thorough: bool
    events: Events


def install(
    source: ModelSource,
    into: str,
    name: str | None = None,
    *,
    replace: bool = False,
    thorough: bool = True,
    events: Events | None = None,
) -> Installed:
    """Install a model below ``into``, a folder or an S3 address, completely or not at all.

    The model's folder has the source's name by default. Another model of that name is an error unless ``replace`` is set; processes that
    read it keep the files that they have opened.

    Args:
        thorough: read every byte of a model that is installed already, instead of comparing sizes and modification times.
        events: receives progress.

    Raises:
        VicurError: if another model has that name, or the source cannot be reached or is not a complete model.
    """
    name = name or source.name
    if not name or name != Path(name).name or name.startswith("."):
        raise VicurError("is not the name of a folder.", where=repr(name), remedy="Set another name with --name.")
    order = _Order(source, name, replace, thorough, events or Events("models", None))
    return _install_to_s3(order, into) if is_s3(into) else _install_to_folder(order, Path(into))


def _install_to_folder(order: _Order, into: Path) -> Installed:
    place = into / order.name
    # Before anything is written, so that a volume may be read-only.
    if not order.thorough and (record := staged_record(order.source, place)) is not None:
        return Installed(str(place), record, fetched=False)
    try:
        into.mkdir(parents=True, exist_ok=True)
        with _staging_folder(into, order) as staging:
            if (record := _installed(order, place)) is not None:
                return Installed(str(place), record, fetched=False)
            fetched = order.source.fetch(staging, order.events)
            if fetched.skipped:
                log.info("%s: skipped %s", order.name, listed(fetched.skipped, _SHOWN))
            model_parameters(fetched.folder)
            fetched.record.write(fetched.folder)
            with new_folder(place) as partial:
                # Rename the staging folder instead of copying gigabytes into the new one.
                partial.rmdir()
                fetched.folder.rename(partial)
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise _unwritable(into, error) from error
    return Installed(str(place), fetched.record, fetched=True, skipped=fetched.skipped)


@contextmanager
def _staging_folder(into: Path, order: _Order) -> Iterator[Path]:
    """Yield the folder to fetch to. Of two concurrent calls, the second waits and then finds the model installed."""
    lock = FileLock(into / f".{order.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        order.events.progress(0, 1, f"waiting for another process that stages {order.name}")
        lock.acquire()
    try:
        # The name does not depend on the process, so that the next attempt resumes with the files that are complete.
        yield into / f".{order.name}.staging"
    finally:
        lock.release()


def staged_record(source: ModelSource, place: Path) -> Record | None:
    """Return the record of a model that is installed and whose files look unchanged, or else ``None``."""
    record = read_record(place)
    return record if record is not None and source.has(record) and is_unchanged(place, record) else None


def _installed(order: _Order, place: Path) -> Record | None:
    if not place.exists():
        return None  # it has to be fetched
    record = read_record(place)
    if record is None or not order.source.has(record):
        _require_replace(order.replace, str(place))
        return None
    if not order.thorough and is_unchanged(place, record):
        return record
    try:
        return check(place)
    except VicurError as error:
        log.warning("%s Fetching it again", error)
        return None


def _install_to_s3(order: _Order, into: str) -> Installed:
    folders, place = S3Folders.at(into.rstrip("/"), RECORD), f"{into.rstrip('/')}/{order.name}"
    text = folders.read_marker(order.name)
    if text is not None:
        record = parse_record(text, f"{place}/{RECORD}")
        if order.source.has(record):
            return Installed(place, record, fetched=False)
        _require_replace(order.replace, place)
    # Not streamed from source to S3, because the files must be verified before any is visible there.
    with tempfile.TemporaryDirectory(prefix="vicur-") as scratch:
        local = _install_to_folder(order, Path(scratch))
        folders.put(Path(local.place), order.name)
    return Installed(place, local.record, fetched=True, skipped=local.skipped)


def _require_replace(replace: bool, place: str) -> None:
    if not replace:
        raise VicurError(
            "contains another model, or another revision of this one.",
            where=place,
            remedy="Stage under another name (--name), or replace it (--replace) once no run reads it.",
        )


def _unwritable(into: Path, error: OSError) -> VicurError:
    if error.errno not in _DENIED or not os.environ.get(MODELS_VARIABLE):
        return unwritable(into, error)
    return VicurError(
        f"the volume with models cannot be written by user {os.getuid()}, group {os.getgid()} ({error.strerror or error}).",
        where=str(into),
        remedy="Run the job k8s/jobs/stage-models once, whose pod gives the volume to this group, or stage the model with it.",
    )
