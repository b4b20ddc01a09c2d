"""A folder that DVC has pushed, by its hash, without DVC, git or a lock.

In the layout of DVC 3 an object with the MD5 h lies at ``files/md5/<h[:2]>/<h[2:]>`` of the remote. That of a folder ends in ``.dir`` and
is a JSON list of ``{"md5", "relpath"}``, one for each file. A remote is not trusted: every byte is held against its hash.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vicur.data.fetch import WantedFile, require_paths
from vicur.errors import VicurError
from vicur.storage.object_store import Objects

_LARGEST_LISTING = 256 << 20  # bytes; two million files


class _ListedFile(BaseModel):
    model_config = ConfigDict(strict=True)

    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    relpath: str


_LISTING = TypeAdapter(list[_ListedFile])


def pinned_files(folder_hash: str, objects: Objects) -> list[WantedFile]:
    """The files of a folder.

    Args:
        folder_hash: DVC's hash of the folder, ``<md5>.dir``.
        objects: DVC's remote.

    Raises:
        VicurError: where the remote has no such folder, has it in the layout of DVC 2 only, or its listing is damaged or unsafe.
    """
    key = _key(folder_hash)
    where = f"{objects.address}/{key}"
    content = objects.read(key, _LARGEST_LISTING)
    if content is None:
        raise _missing(folder_hash, objects)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != folder_hash.removesuffix(".dir"):
        raise VicurError(
            "is damaged: its bytes have another hash than its name says.",
            where=where,
            remedy="Delete it there, and push it again (dvc push) from a machine that has the data.",
        )
    try:
        listing = _LISTING.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise VicurError(
            f"is no listing of a folder as DVC 3 writes it ({place}: {first['msg']}).",
            where=where,
            remedy="Add the folder again with DVC 3 and push it.",
        ) from error
    require_paths([entry.relpath for entry in listing], where)
    return [WantedFile(entry.relpath, _key(entry.md5), md5=entry.md5) for entry in listing]


def _key(md5: str) -> str:
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def _missing(folder_hash: str, objects: Objects) -> VicurError:
    if objects.read(f"{folder_hash[:2]}/{folder_hash[2:]}", _LARGEST_LISTING) is not None:
        return VicurError(
            f"holds {folder_hash} in the layout of DVC 2, whose hashes are others.",
            where=objects.address,
            remedy="Run 'dvc cache migrate --dvc-files', then 'dvc push' with DVC 3, and name the new hash.",
        )
    return VicurError(
        f"holds no folder with the hash {folder_hash}.",
        where=objects.address,
        remedy="Run 'dvc push' where the data are, or correct data.hash or data.remote.",
    )
