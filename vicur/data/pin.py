"""``data.dvc`` pins the repository's dataset by the hash that DVC gives its folder.

The hash is computed here in the same way as in DVC 3, so that pipeline steps need neither DVC nor git. It is the MD5 of a JSON list of
``{"md5", "relpath"}`` of the folder's files, sorted by path, followed by ``.dir``.
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
    """Hash, total size in bytes and number of files of a folder, as in a ``.dvc`` file."""

    md5: str
    size: int
    nfiles: int


def dvc_hash(folder: Path) -> Pin:
    """Hash a folder as ``dvc add`` does."""
    return _state(folder, _listing(folder))


def pin(folder: Path, dvc_file: Path) -> Pin:
    """Write the hash of the folder to a ``.dvc`` file and its content to DVC's cache, as ``dvc add`` does.

    Raises:
        VicurError: if the folder is not below the file's folder, is empty, or the file was not written by DVC 3.
    """
    home = dvc_file.resolve().parent
    if home not in folder.resolve().parents:
        raise VicurError(
            f"is not below {home}, the folder of {dvc_file.name}.",
            where=str(folder),
            remedy="Build the dataset inside the repository, for example in data/.",
        )
    listing = _listing(folder)
    state = _state(folder, listing)
    document = _read(dvc_file) if dvc_file.exists() else {"outs": [{}]}
    # Keep other settings of the file, such as the remote.
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
    """Add a folder to DVC's cache if it has the hash in the ``.dvc`` file, and return whether it has."""
    # Without a copy in its cache, DVC reports even the right data as changed, and cannot push or restore them.
    listing = _listing(folder)
    if _state(folder, listing).md5 != read_pin(dvc_file).md5:
        return False
    _store(folder, listing, dvc_file.resolve().parent / ".dvc")
    return True


def read_pin(dvc_file: Path) -> Pin:
    """Read the folder's hash from a ``.dvc`` file of DVC 3."""
    out = _read(dvc_file)["outs"][0]
    return Pin(md5=out["md5"], size=int(out.get("size", 0)), nfiles=int(out.get("nfiles", 0)))


def check_pin(folder: Path, dvc_file: Path) -> Pin:
    """Hash a dataset, and raise an error if the hash is not the one in a ``.dvc`` file."""
    expected, actual = read_pin(dvc_file), dvc_hash(folder)
    if actual.md5 != expected.md5:
        raise VicurError(
            f"has hash {actual.md5}, but {dvc_file.name} has {expected.md5}.",
            where=str(folder),
            remedy="Build or fetch the pinned dataset again, or pin this one (vicur data pin).",
        )
    return actual


def _read(dvc_file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(dvc_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VicurError("does not exist.", where=str(dvc_file), remedy="Write it with vicur data pin.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise VicurError(f"cannot be read ({error}).", where=str(dvc_file), remedy="Restore it from git.") from error
    outs = document.get("outs") if isinstance(document, dict) else None
    if not (isinstance(outs, list) and len(outs) == 1 and isinstance(outs[0], dict)):
        raise VicurError(
            "does not list exactly one folder.", where=f"{dvc_file}:outs", remedy="Write it with vicur data pin."
        )
    if outs[0].get("hash") != "md5":
        raise VicurError(
            "has no 'hash: md5': it was written by DVC 2, whose hashes are different.",
            where=f"{dvc_file}:hash",
            remedy="Write it again with vicur data pin or with DVC 3.",
        )
    if not str(outs[0].get("md5", "")).endswith(".dir"):
        raise VicurError(
            "is not the hash of a folder.", where=f"{dvc_file}:md5", remedy="Write it with vicur data pin."
        )
    return dict(document)


def _listing(folder: Path) -> list[dict[str, str]]:
    files = files_below(folder) if folder.is_dir() else []
    if not files:
        raise VicurError(
            "contains no files.", where=str(folder), remedy="Build the dataset first (vicur data prepare)."
        )
    listing = [{"md5": file_md5(file), "relpath": file.relative_to(folder).as_posix()} for file in files]
    return sorted(listing, key=lambda entry: entry["relpath"])


def _encoded(listing: list[dict[str, str]]) -> bytes:
    # Byte for byte the serialisation of DVC, which the hash is computed from.
    return json.dumps(listing, sort_keys=True).encode()


def _state(folder: Path, listing: list[dict[str, str]]) -> Pin:
    md5 = hashlib.md5(_encoded(listing), usedforsecurity=False).hexdigest()
    size = sum((folder / entry["relpath"]).stat().st_size for entry in listing)
    return Pin(md5=f"{md5}.dir", size=size, nfiles=len(listing))


def _store(folder: Path, listing: list[dict[str, str]], dvc_folder: Path) -> None:
    if not dvc_folder.is_dir():
        return  # the repository does not use DVC
    cache = _cache_folder(dvc_folder) / "files" / "md5"
    for entry in listing:
        with _new_object(cache, entry["md5"]) as file:
            if file is not None:
                shutil.copyfile(folder / entry["relpath"], file)
    # The listing last: a folder whose listing is in the cache is complete.
    with _new_object(cache, _state(folder, listing).md5) as file:
        if file is not None:
            file.write_bytes(_encoded(listing))


@contextmanager
def _new_object(cache: Path, md5: str) -> Iterator[Path | None]:
    """Yield a path to write an object of the cache to, or ``None`` if the cache has it already."""
    path = cache / md5[:2] / md5[2:]
    if path.exists():
        yield None
        return
    with new_file(path) as file:
        yield file
        file.chmod(0o444)  # DVC also write-protects its objects


def _cache_folder(dvc_folder: Path) -> Path:
    # config.local overrides config.
    settings = ConfigParser(interpolation=None)
    settings.read([dvc_folder / "config", dvc_folder / "config.local"], encoding="utf-8")
    return dvc_folder / settings.get("cache", "dir", fallback="cache")


def file_md5(path: Path) -> str:
    """Return the MD5 of a file in hex."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
