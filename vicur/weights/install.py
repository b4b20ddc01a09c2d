"""Stages a model: fetches it beside its place, checks it, and renames it into place; nothing is done where it is there already."""

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
from vicur.weights.sources import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Staged:
    """A model in its place.

    Attributes:
        place: its folder or address.
        record: what it is.
        fetched: whether it was fetched now, and not found there.
    """

    place: str
    record: Record
    fetched: bool


def stage(source: Source, into: str, name: str | None = None, *, replace: bool = False) -> Staged:
    """Puts a model below ``into``, whole or not at all.

    Args:
        source: where it comes from.
        into: a folder (a cluster's cache), or an address on S3.
        name: of the model's folder there; the source's name for it by default.
        replace: whether another model of that name may be replaced. Steps that read it now keep what they have opened.

    Raises:
        VicurError: where another model has the name, the source does not answer, or what it sent is no model.
    """
    name = name or source.name
    if not name or name != Path(name).name or name.startswith("."):
        raise VicurError("is no name of a folder.", where=repr(name), remedy="Give another with --name.")
    return (
        _stage_to_s3(source, into, name, replace)
        if is_s3(into)
        else _stage_to_folder(source, Path(into), name, replace)
    )


def _stage_to_folder(source: Source, into: Path, name: str, replace: bool) -> Staged:
    place, beside = into / name, into / f".{name}.staging"
    try:
        into.mkdir(parents=True, exist_ok=True)
        # Two jobs side by side: the second waits, and then finds the model there.
        with FileLock(into / f".{name}.lock"):
            if (record := _kept(source, place, replace)) is not None:
                return Staged(str(place), record, fetched=False)
            # Under a name of its own that outlives this process: the next try goes on with the files that are whole.
            record = source.fetch(beside)
            model_parameters(beside)
            record.write(beside)
            with new_folder(place) as partial:
                # Not a copy: the model takes the empty folder's name, and then its place.
                partial.rmdir()
                beside.rename(partial)
    except OSError as error:
        raise unwritable(into, error) from error
    return Staged(str(place), record, fetched=True)


def _kept(source: Source, place: Path, replace: bool) -> Record | None:
    """The record of the model that is there already; ``None`` where it has to be fetched."""
    if not place.exists():
        return None
    record = read_record(place)
    if record is None or not source.holds(record):
        _refuse_unless(replace, str(place))
        return None
    try:
        return check(place)
    except VicurError as error:
        log.warning("%s It is fetched again.", error)
        return None


def _stage_to_s3(source: Source, into: str, name: str, replace: bool) -> Staged:
    folders, place = S3Folders.at(into.rstrip("/"), RECORD), f"{into.rstrip('/')}/{name}"
    text = folders.read_marker(name)
    if text is not None:
        record = parse_record(text, f"{place}/{RECORD}")
        if source.holds(record):
            return Staged(place, record, fetched=False)
        _refuse_unless(replace, place)
    with tempfile.TemporaryDirectory(prefix="vicur-") as scratch:
        staged = _stage_to_folder(source, Path(scratch), name, replace=False)
        folders.put(Path(staged.place), name)
    return Staged(place, staged.record, fetched=True)


def _refuse_unless(replace: bool, place: str) -> None:
    if not replace:
        raise VicurError(
            "holds another model, or another revision of it.",
            where=place,
            remedy="Stage under another name (--name), or replace it (--replace) once no run reads it.",
        )
