"""Read and decode all examples with one library, in a process of its own: ``python -m benchmarks.reading.loaders NAME FOLDER``.

Prints the number of examples and the seconds of processor time. Each library reads its usual form of the same examples: ``vicur`` a
prepared dataset, ``datasets`` the same files by their card, ``webdataset`` a tar of PNG and JSON files. Every image is decoded to RGB.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TAR = "examples.tar"


def with_vicur(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the question of each example and the size of its decoded image."""
    from vicur.data import read_manifest
    from vicur.data.images import plain_image
    from vicur.data.shards import read_shard

    for shard in read_manifest(folder).shards:
        for example in read_shard(folder / shard.file):
            yield example.question, len(plain_image(example.images[0]).tobytes())


def with_datasets(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the same with Hugging Face's ``datasets``."""
    import datasets

    for split in datasets.load_dataset(str(folder), cache_dir=str(folder.parent / "cache")).values():
        for example in split:
            yield example["question"], len(example["images"][0].convert("RGB").tobytes())


def with_webdataset(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the same with WebDataset."""
    import webdataset

    for sample in webdataset.WebDataset(str(folder.parent / TAR), shardshuffle=False).decode("pilrgb"):
        yield sample["json"]["question"], len(sample["png"].tobytes())


LIBRARIES: dict[str, Callable[[Path], Iterator[tuple[str, int]]]] = {
    "vicur": with_vicur,
    "datasets": with_datasets,
    "webdataset": with_webdataset,
}


def write_tar(folder: Path) -> None:
    """Write the examples of a prepared dataset to a tar in WebDataset's form, beside its folder."""
    from vicur.data import read_manifest
    from vicur.data.shards import read_shard

    with tarfile.open(folder.parent / TAR, "w") as tar:
        for shard in read_manifest(folder).shards:
            for example in read_shard(folder / shard.file):
                texts = example.model_dump(exclude={"images"})
                for ending, data in (("png", example.images[0]), ("json", json.dumps(texts).encode())):
                    member = tarfile.TarInfo(f"{example.id}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def main(name: str, folder: str) -> None:
    # A first pass warms the disk's cache, and lets datasets convert the files to its own form.
    for _ in LIBRARIES[name](Path(folder)):
        pass
    started = time.process_time()
    count = sum(1 for _ in LIBRARIES[name](Path(folder)))
    print(json.dumps({"examples": count, "seconds": time.process_time() - started}), flush=True)
    # Threads of a library may keep the interpreter from ending.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
