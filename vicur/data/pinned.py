"""Reads a folder that DVC has pushed, by its hash, without DVC or git.

In the layout of DVC 3, the object with the MD5 h is stored at ``files/md5/<h[:2]>/<h[2:]>`` in the remote. The hash of a folder ends in
``.dir``, and its object is a JSON list of ``{"md5", "relpath"}``, one for each file. The remote is not trusted: every byte is checked
against its hash.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vicur.data.fetch import RemoteFile, require_paths
from vicur.data.schema import Fault
from vicur.errors import VicurError
from vicur.storage.object_store import Objects

_LARGEST_LISTING = 256 << 20  # bytes, enough for two million files


class _ListedFile(BaseModel):
    model_config = ConfigDict(strict=True)

    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    relpath: str


_LISTING = TypeAdapter(list[_ListedFile])


def pinned_files(folder_hash: str, objects: Objects) -> list[RemoteFile]:
    """List the files of the folder with the hash ``<md5>.dir`` in a DVC remote.

    Raises:
        VicurError: if the remote lacks the folder or has it only in the layout of DVC 2, or the listing is damaged or unsafe.
    """
    key = _key(folder_hash)
    where = f"{objects.address}/{key}"
    for _ in range(3):  # the transfer may be at fault
        content = objects.read(key, _LARGEST_LISTING)
        if content is None:
            raise _missing(folder_hash, objects)
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == folder_hash.removesuffix(".dir"):
            break
    else:
        raise VicurError(
            "is damaged: its content does not have the hash in its name.",
            where=where,
            remedy="Delete it there, and run dvc push again on a machine that has the data.",
        )
    try:
        listing = _LISTING.validate_json(content)
    except ValidationError as error:
        fault = Fault.of(error)
        raise VicurError(
            f"is not a listing of a folder as DVC 3 writes it ({f'{fault.field} ' if fault.field else ''}{fault.reason}).",
            where=where,
            remedy="Run dvc add and dvc push again with DVC 3.",
        ) from error
    # The hash proves that this is the configured listing, but not that its paths are safe.
    require_paths([entry.relpath for entry in listing], where)
    return [RemoteFile(entry.relpath, _key(entry.md5), md5=entry.md5) for entry in listing]


def _key(md5: str) -> str:
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def _missing(folder_hash: str, objects: Objects) -> VicurError:
    # The layout of DVC 2 has no folder files/md5.
    if objects.read(f"{folder_hash[:2]}/{folder_hash[2:]}", _LARGEST_LISTING) is not None:
        return VicurError(
            f"has {folder_hash} only in the layout of DVC 2, whose hashes are different.",
            where=objects.address,
            remedy="Run 'dvc cache migrate --dvc-files', then 'dvc push' with DVC 3, and set data.hash to the new hash.",
        )
    return VicurError(
        f"has no folder with the hash {folder_hash}.",
        where=objects.address,
        remedy="Run 'dvc push' on the machine that has the data, or correct data.hash or data.remote.",
    )
