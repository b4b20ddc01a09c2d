"""Verification of a dataset folder: every byte, row, id and image. Shards are verified by several processes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from vicur.data.dataset import REBUILD, read_listed_shard, read_manifest
from vicur.data.images import UnusableImageError, require_plain
from vicur.data.pin import dvc_hash
from vicur.data.schema import Shard
from vicur.errors import VicurError
from vicur.processes.workers import Report, default_processes, run_tasks
from vicur.storage.folders import file_sha256

# Only bounds the memory: data.max_pixels was checked when the image was imported, possibly with another value.
_MAX_PIXELS = 1 << 28
# Bytes of the hash of an id: a million ids take 16 MB, however long they are.
_DIGEST = 16
# Fewer rows are verified sooner by one process than others take to start.
_ROWS_PER_PROCESS = 10_000


class Verification(BaseModel):
    """DVC's hash of an intact dataset, and its number of examples by split."""

    dataset_hash: str
    examples: dict[str, int]


def verify(folder: Path) -> Verification:
    """Verify every byte of a dataset: checksums, rows, unique ids, and that every image decodes.

    Raises:
        VicurError: naming the damaged file, and the row if possible.
    """
    manifest = read_manifest(folder)
    tasks = [{"folder": str(folder), "shard": shard.model_dump()} for shard in manifest.shards]
    processes = min(default_processes(), max(1, sum(shard.rows for shard in manifest.shards) // _ROWS_PER_PROCESS))
    digests = [b""] * len(tasks)
    for number, result in run_tasks(verify_shard, tasks, processes):
        digests[number] = base64.b64decode(result)
    _require_unique_ids(folder, manifest.shards, digests)
    # load_dataset() reads files by pattern, so an additional shard would be read too.
    unlisted = sorted({path.name for path in folder.glob("*.parquet")} - {shard.file for shard in manifest.shards})
    if unlisted:
        raise VicurError(
            "is not listed in manifest.json.", where=str(folder / unlisted[0]), remedy="Move the file elsewhere."
        )
    return Verification(dataset_hash=dvc_hash(folder).md5, examples=manifest.examples)


def verify_shard(task: dict[str, Any], report: Report) -> str:
    """Verify one shard of a dataset, and return the hashes of its ids in base64."""
    folder, shard = Path(task["folder"]), Shard(**task["shard"])
    path = folder / shard.file
    images: set[bytes] = set()
    ids = bytearray()
    for row, example in enumerate(read_listed_shard(folder, shard), start=1):
        for place, image in enumerate(example.images):
            # Consecutive questions about one scene share its image, which is decoded once.
            if image not in images:
                _check_stored(image, f"{path}:row {row}:images[{place}]")
        images = set(example.images)
        ids += hashlib.blake2b(example.id.encode(), digest_size=_DIGEST).digest()
        report(row)
    # The rows come first, because they locate the damage; the checksum only detects it.
    if file_sha256(path) != shard.sha256:
        raise VicurError("does not match its checksum in manifest.json.", where=str(path), remedy=REBUILD)
    return base64.b64encode(ids).decode()


def _check_stored(image: bytes, where: str) -> None:
    try:
        require_plain(image, _MAX_PIXELS)
    except UnusableImageError as fault:
        raise VicurError(f"{fault.reason}.", where=where, remedy=REBUILD) from fault


def _require_unique_ids(folder: Path, shards: Sequence[Shard], digests: Sequence[bytes]) -> None:
    hashes = np.frombuffer(b"".join(digests), dtype=[("high", np.uint64), ("low", np.uint64)])
    _, first_use, codes = np.unique(hashes, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first_use[codes] != np.arange(len(hashes)))
    if not len(repeated):
        return
    place = int(repeated[0])
    name, where = _located(folder, shards, place)
    _, first = _located(folder, shards, int(first_use[codes[place]]))
    raise VicurError(f"the id {name!r} is already used in {first}.", where=f"{where}:id", remedy=REBUILD)


def _located(folder: Path, shards: Sequence[Shard], place: int) -> tuple[str, str]:
    """Return the id and the location of an example, given its number in the dataset."""
    import pyarrow.parquet as pq

    for shard in shards:
        if place < shard.rows:
            path = folder / shard.file
            name = pq.read_table(path, columns=["id"])["id"][place].as_py()
            return str(name), f"{path}:row {place + 1}"
        place -= shard.rows
    raise IndexError(place)
