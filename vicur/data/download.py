"""``vicur data fetch``: brings a dataset or a source to this machine as it is stored, by its hash or its address.

Files are fetched to a hidden folder beside the output, verified there, and renamed. If the command is killed, the next call with the same
output resumes.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from vicur.config.data import PinnedConfig, RemoteConfig
from vicur.config.dataset_reference import dataset_reference
from vicur.data.dataset import MANIFEST
from vicur.data.dvc_remote import pinned_by
from vicur.data.fetch import RemoteFile, fetch, verify_fetched
from vicur.data.pin import dvc_hash, file_md5
from vicur.data.pinned import pinned_files
from vicur.data.remote import remote_files
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.storage.folders import files_below, unwritable
from vicur.storage.object_store import objects_at


@dataclass(frozen=True)
class Download:
    """A folder that was fetched, or that was there already."""

    folder: Path
    files: int
    size: int  # bytes
    dataset_hash: str
    is_prepared: bool  # a dataset with a manifest, rather than a source for vicur data prepare
    was_there: bool


def download(reference: str, output: Path, events: Events) -> Download:
    """Fetch the folder ``<md5>.dir@REMOTE``, ``s3://bucket/prefix`` or that of a ``.dvc`` file to ``output``.

    Raises:
        VicurError: if the reference is none of these, ``output`` has other content, or a file cannot be fetched or is damaged.
    """
    config = _parsed(reference)
    if isinstance(config, PinnedConfig):
        address, key = config.remote, config.hash
    else:
        address, key = config.uri, config.uri
    if isinstance(config, PinnedConfig) and _has_files(output):
        # Nothing needs to be fetched or listed to compare a hash.
        return _as_it_is(output, f"the folder {config.hash}", dvc_hash(output).md5 == config.hash)
    objects = objects_at(address)
    files = pinned_files(config.hash, objects) if isinstance(config, PinnedConfig) else remote_files(objects, None)
    if _has_files(output):
        return _as_it_is(output, address, _equals(output, files))
    work = output.absolute().parent / f".{output.name}.{hashlib.sha256(key.encode()).hexdigest()[:12]}.fetch"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(output, error) from error
    try:
        with FileLock(work / "lock", timeout=0):
            folder = fetch(files, objects, work, events)
            is_prepared = (folder / MANIFEST).is_file()
            if is_prepared:
                verify_fetched(folder, address)
            if output.is_dir():
                output.rmdir()  # it is empty
            folder.rename(output.absolute())
            shutil.rmtree(work, ignore_errors=True)
    except Timeout:
        raise VicurError(
            "is being fetched by another process.", where=str(output), remedy="Wait for it, or name another folder."
        ) from None
    return _described(output, was_there=False)


def _parsed(reference: str) -> PinnedConfig | RemoteConfig:
    text = reference.strip()
    if text.endswith(".dvc"):
        return pinned_by(Path(text))
    name, separator, remote = text.partition("@")
    if separator and remote and "://" not in remote:
        # Here, unlike in a form, a relative path has a meaning.
        text = f"{name}@{Path(remote).expanduser().absolute()}"
    config = dataset_reference(text)
    if not isinstance(config, PinnedConfig | RemoteConfig):
        raise VicurError(
            "is nothing that can be fetched.",
            where=f"dataset {reference!r}",
            remedy="Write <md5>.dir@s3://bucket/dvc (a hash and its DVC remote), s3://bucket/folder or data.dvc. Digit scenes are "
            "generated, and folders read where they are: vicur data prepare.",
        )
    return config


def _has_files(output: Path) -> bool:
    if output.exists() and not output.is_dir():
        raise VicurError("is a file.", where=str(output), remedy="Name another output folder.")
    return output.is_dir() and any(output.iterdir())


def _equals(output: Path, files: list[RemoteFile]) -> bool:
    """Check that a folder has exactly the listed files. Content is compared by ETags that are MD5s; others are taken as different."""
    present = {path.relative_to(output).as_posix(): path for path in files_below(output)}
    if present.keys() != {file.path for file in files}:
        return False
    return all(
        file.etag is not None and file.matches(present[file.path]) and file_md5(present[file.path]) == file.etag
        for file in files
    )


def _as_it_is(output: Path, wanted: str, is_the_same: bool) -> Download:
    if is_the_same:
        return _described(output, was_there=True)
    found = f"the dataset {dvc_hash(output).md5}" if (output / MANIFEST).is_file() else "other files"
    raise VicurError(
        f"the output folder contains {found}, not {wanted}. Nothing was changed.",
        where=str(output),
        remedy="Name another folder with --output, or move this one away.",
    )


def _described(output: Path, *, was_there: bool) -> Download:
    state = dvc_hash(output)
    is_prepared = (output / MANIFEST).is_file()
    return Download(output, state.nfiles, state.size, state.md5, is_prepared=is_prepared, was_there=was_there)
