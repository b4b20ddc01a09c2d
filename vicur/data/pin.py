"""``data.dvc``: which dataset the repository means, by the hash that DVC gives a folder.

The hash is computed here, as DVC 3 does it, so that a step of a pipeline needs neither DVC nor git to know what it works on.
DVC's hash of a folder is the MD5 of a JSON list of ``{"md5", "relpath"}`` of its files, sorted by path, with ``.dir`` after it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vicur.errors import VicurError
from vicur.storage.folders import files_below, new_file

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Pin:
    """A folder as DVC sees it.

    Attributes:
        md5: hash of the folder, ending in ``.dir``.
        size: bytes of all files together.
        nfiles: number of files.
    """

    md5: str
    size: int
    nfiles: int


def dvc_hash(folder: Path) -> Pin:
    """Hashes a folder as ``dvc add`` does.

    Raises:
        VicurError: where there is no folder, or nothing in it.
    """
    return _state(folder, _listing(folder))


def pin(folder: Path, dvc_file: Path) -> Pin:
    """Makes a ``.dvc`` file name the folder's present content, which also goes to DVC's cache, as ``dvc add`` does it.

    Other settings in the file stay as they are.

    Args:
        folder: the dataset, somewhere below the folder that the file is in.
        dvc_file: ``data.dvc``.

    Raises:
        VicurError: where the folder lies elsewhere, is empty, or the file is not one of DVC 3.
    """
    home = dvc_file.resolve().parent
    if home not in folder.resolve().parents:
        raise VicurError(
            f"is not below {home}, where the .dvc file is.",
            where=str(folder),
            remedy="Build the dataset inside the repository, for example in data/.",
        )
    listing = _listing(folder)
    state = _state(folder, listing)
    document = _read(dvc_file) if dvc_file.exists() else {"outs": [{}]}
    document["outs"][0] |= {
        "md5": state.md5,
        "size": state.size,
        "nfiles": state.nfiles,
        "hash": "md5",
        "path": folder.resolve().relative_to(home).as_posix(),
    }
    with new_file(dvc_file) as file:
        file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8", newline="\n")
    _store(folder, listing, home / ".dvc")
    return state


def store_if_pinned(folder: Path, dvc_file: Path) -> bool:
    """Puts a folder into DVC's cache if it is the one that the ``.dvc`` file names; tells whether it is.

    Without a copy in its cache DVC calls even the right data changed: it could not push them or bring them back.

    Raises:
        VicurError: where the folder or the file cannot be read.
    """
    listing = _listing(folder)
    if _state(folder, listing).md5 != read_pin(dvc_file).md5:
        return False
    _store(folder, listing, dvc_file.resolve().parent / ".dvc")
    return True


def read_pin(dvc_file: Path) -> Pin:
    """Reads the folder hash that a ``.dvc`` file names.

    Raises:
        VicurError: where the file is missing, or is not one of DVC 3 for one folder.
    """
    out = _read(dvc_file)["outs"][0]
    return Pin(md5=out["md5"], size=int(out.get("size", 0)), nfiles=int(out.get("nfiles", 0)))


def check_pin(folder: Path, dvc_file: Path) -> Pin:
    """Holds a dataset against the one that the repository means.

    Raises:
        VicurError: where they differ.
    """
    wanted, found = read_pin(dvc_file), dvc_hash(folder)
    if found.md5 != wanted.md5:
        raise VicurError(
            f"has hash {found.md5}, and {dvc_file.name} names {wanted.md5}.",
            where=str(folder),
            remedy="Build or fetch the pinned dataset again, or pin this one (vicur data pin).",
        )
    return found


def _read(dvc_file: Path) -> dict[str, Any]:
    """A ``.dvc`` file for one folder, in the layout of DVC 3."""
    try:
        document = yaml.safe_load(dvc_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VicurError("does not exist.", where=str(dvc_file), remedy="Write it with vicur data pin.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise VicurError(f"cannot be read ({error}).", where=str(dvc_file), remedy="Restore it from git.") from error
    outs = document.get("outs") if isinstance(document, dict) else None
    if not (isinstance(outs, list) and len(outs) == 1 and isinstance(outs[0], dict)):
        raise VicurError("does not name one folder.", where=f"{dvc_file}:outs", remedy="Write it with vicur data pin.")
    if outs[0].get("hash") != "md5":
        raise VicurError(
            "has no 'hash: md5': it was written for the layout of DVC 2, which names other hashes.",
            where=f"{dvc_file}:hash",
            remedy="Write it again with vicur data pin or with DVC 3.",
        )
    if not str(outs[0].get("md5", "")).endswith(".dir"):
        raise VicurError("names no folder's hash.", where=f"{dvc_file}:md5", remedy="Write it with vicur data pin.")
    return dict(document)


def _listing(folder: Path) -> list[dict[str, str]]:
    """What DVC stores of a folder: the hash and the relative path of each file, sorted by path."""
    files = files_below(folder) if folder.is_dir() else []
    if not files:
        raise VicurError("holds no files.", where=str(folder), remedy="Build the dataset first (vicur data prepare).")
    listing = [{"md5": file_md5(file), "relpath": file.relative_to(folder).as_posix()} for file in files]
    return sorted(listing, key=lambda entry: entry["relpath"])


def _encoded(listing: list[dict[str, str]]) -> bytes:
    return json.dumps(listing, sort_keys=True).encode()


def _state(folder: Path, listing: list[dict[str, str]]) -> Pin:
    md5 = hashlib.md5(_encoded(listing), usedforsecurity=False).hexdigest()
    size = sum((folder / entry["relpath"]).stat().st_size for entry in listing)
    return Pin(md5=f"{md5}.dir", size=size, nfiles=len(listing))


def _store(folder: Path, listing: list[dict[str, str]], dvc_folder: Path) -> None:
    """Copies what is missing into DVC's cache, the listing last. Does nothing where DVC was never set up."""
    if not dvc_folder.is_dir():
        return
    cache = _cache_folder(dvc_folder) / "files" / "md5"
    for entry in listing:
        with _new_object(cache, entry["md5"]) as place:
            if place is not None:
                shutil.copyfile(folder / entry["relpath"], place)
    with _new_object(cache, _state(folder, listing).md5) as place:
        if place is not None:
            place.write_bytes(_encoded(listing))


@contextmanager
def _new_object(cache: Path, md5: str) -> Iterator[Path | None]:
    """Yields where to write an object of the cache, or None where it is already there."""
    path = cache / md5[:2] / md5[2:]
    if path.exists():
        yield None
        return
    with new_file(path) as file:
        yield file
        file.chmod(0o444)  # as DVC keeps its objects


def _cache_folder(dvc_folder: Path) -> Path:
    """Where this repository's DVC keeps objects: the later of its two files wins."""
    settings = ConfigParser(interpolation=None)
    settings.read([dvc_folder / "config", dvc_folder / "config.local"], encoding="utf-8")
    return dvc_folder / settings.get("cache", "dir", fallback="cache")


def file_md5(path: Path) -> str:
    """MD5 of a file's bytes, in hex."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
