"""A folder on S3 by its address.

Unlike a hash, an address says nothing of what lies there. So what S3 lists below it (names, sizes, ETags) is written to a file, which is
an input of the stage like any other: its bytes tell whether the data are the same, before anything is fetched. Only what is listed is
fetched then, as it was when it was listed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import TypeAdapter

from vicur.data.fetch import WantedFile, require_paths
from vicur.errors import VicurError
from vicur.stage.session import scratch_folder
from vicur.storage.folders import new_file
from vicur.storage.object_store import Objects, StoredObject, objects_at

_LISTING = TypeAdapter(list[StoredObject])


def written_listing(uri: str) -> Path:
    """A file that says what lies at an address now. It does not name the address: the same data elsewhere are the same data.

    Raises:
        VicurError: where nothing lies there, or S3 does not answer or refuses.
    """
    content = _LISTING.dump_json(_listed(objects_at(uri)), indent=1)
    file = scratch_folder() / "listings" / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
    with new_file(file) as partial:
        partial.write_bytes(content)
    return file


def remote_files(objects: Objects, listing: Path | None) -> list[WantedFile]:
    """The files below an address.

    Args:
        objects: what lies there.
        listing: file that :func:`written_listing` wrote; ``None`` takes what lies there now.

    Raises:
        VicurError: where nothing lies there, or a name is unsafe.
    """
    stored = _listed(objects) if listing is None else _LISTING.validate_json(listing.read_bytes())
    require_paths([each.key for each in stored], objects.address)
    return [WantedFile(each.key, each.key, size=each.size, version=each.version) for each in stored]


def _listed(objects: Objects) -> list[StoredObject]:
    stored = objects.all()
    if not stored:
        raise VicurError("holds nothing.", where=objects.address, remedy="Correct data.uri, or upload the dataset.")
    return stored
