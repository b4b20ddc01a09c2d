"""Installs a model: fetches it next to its final path, verifies it, and renames it. Does nothing if it is installed already."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from vicur.errors import VicurError
from vicur.storage.folders import new_folder, unwritable
from vicur.storage.s3 import S3Folders, is_s3
from vicur.weights.base_model import model_parameters
from vicur.weights.record import RECORD, Record, check, parse_record, read_record
from vicur.weights.sources import ModelSource

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Installed:
    """A model in its final place."""

    place: str  # folder or S3 address
    record: Record
    fetched: bool  # false if it was installed before


def install(source: ModelSource, into: str, name: str | None = None, *, replace: bool = False) -> Installed:
    """Install a model below ``into``, a folder or an S3 address, completely or not at all.

    The model's folder has the source's name by default. Another model of that name is an error unless ``replace`` is set; processes that
    read it keep the files that they have opened.

    Raises:
        VicurError: if another model has that name, or the source cannot be reached or is not a complete model.
    """
    name = name or source.name
    if not name or name != Path(name).name or name.startswith("."):
        raise VicurError("is not the name of a folder.", where=repr(name), remedy="Set another name with --name.")
    return (
        _install_to_s3(source, into, name, replace)
        if is_s3(into)
        else _install_to_folder(source, Path(into), name, replace)
    )


def _install_to_folder(source: ModelSource, into: Path, name: str, replace: bool) -> Installed:
    # The name does not depend on the process, so that the next attempt resumes with the files that are complete.
    place, staging = into / name, into / f".{name}.staging"
    try:
        into.mkdir(parents=True, exist_ok=True)
        # Of two concurrent jobs, the second waits and then finds the model installed.
        with FileLock(into / f".{name}.lock"):
            if (record := _installed(source, place, replace)) is not None:
                return Installed(str(place), record, fetched=False)
            record = source.fetch(staging)
            model_parameters(staging)
            record.write(staging)
            with new_folder(place) as partial:
                # Rename the staging folder instead of copying gigabytes into the new one.
                partial.rmdir()
                staging.rename(partial)
    except OSError as error:
        raise unwritable(into, error) from error
    return Installed(str(place), record, fetched=True)


def _installed(source: ModelSource, place: Path, replace: bool) -> Record | None:
    if not place.exists():
        return None  # it has to be fetched
    record = read_record(place)
    if record is None or not source.has(record):
        _require_replace(replace, str(place))
        return None
    try:
        return check(place)
    except VicurError as error:
        log.warning("%s Fetching it again", error)
        return None


def _install_to_s3(source: ModelSource, into: str, name: str, replace: bool) -> Installed:
    folders, place = S3Folders.at(into.rstrip("/"), RECORD), f"{into.rstrip('/')}/{name}"
    text = folders.read_marker(name)
    if text is not None:
        record = parse_record(text, f"{place}/{RECORD}")
        if source.has(record):
            return Installed(place, record, fetched=False)
        _require_replace(replace, place)
    # Not streamed from source to S3, because the files must be verified before any is visible there.
    with tempfile.TemporaryDirectory(prefix="vicur-") as scratch:
        local = _install_to_folder(source, Path(scratch), name, replace=False)
        folders.put(Path(local.place), name)
    return Installed(place, local.record, fetched=True)


def _require_replace(replace: bool, place: str) -> None:
    if not replace:
        raise VicurError(
            "contains another model, or another revision of this one.",
            where=place,
            remedy="Stage under another name (--name), or replace it (--replace) once no run reads it.",
        )
