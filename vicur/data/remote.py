"""Reads a folder on S3 by its address.

Unlike a hash, an address does not identify the data. Therefore S3's listing (names, sizes, ETags) is written to a file, which is an input
of the stage: its bytes show whether the data have changed before anything is fetched. Then exactly the listed versions are fetched.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import TypeAdapter

from vicur.data.fetch import RemoteFile, require_paths
from vicur.errors import VicurError
from vicur.storage.folders import new_file
from vicur.storage.object_store import Objects, StoredObject, objects_at
from vicur.storage.scratch import scratch_folder

_LISTING = TypeAdapter(list[StoredObject])


def written_listing(uri: str) -> Path:
    """Write the current listing of an address to a file, and return the file."""
    # The listing does not contain the address, because the same data elsewhere are the same input.
    content = _LISTING.dump_json(_listed(objects_at(uri)), indent=1)
    file = scratch_folder() / "listings" / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
    with new_file(file) as partial:
        partial.write_bytes(content)
    return file


def remote_files(objects: Objects, listing: Path | None) -> list[RemoteFile]:
    """Return the files in a listing from :func:`written_listing`, or those currently below the address if it is ``None``."""
    stored = _listed(objects) if listing is None else _LISTING.validate_json(listing.read_bytes())
    require_paths([each.key for each in stored], objects.address)
    return [RemoteFile(each.key, each.key, size=each.size, version=each.version) for each in stored]


def _listed(objects: Objects) -> list[StoredObject]:
    stored = objects.all()
    if not stored:
        raise VicurError("is empty.", where=objects.address, remedy="Correct data.uri, or upload the dataset.")
    return stored
