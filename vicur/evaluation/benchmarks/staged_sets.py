"""The staged benchmark of an evaluation set: read from a folder or fetched from S3, and checked against its hash."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vicur.config.evaluation import BenchmarkSetConfig
from vicur.data.dataset import MANIFEST
from vicur.data.fetch import fetch
from vicur.data.pin import dvc_hash
from vicur.data.remote import remote_files
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.answers import staged_benchmark
from vicur.stage.events import Events
from vicur.storage.object_store import objects_at
from vicur.storage.s3 import is_s3


@contextmanager
def staged_set(config: BenchmarkSetConfig, work: Path, events: Events) -> Iterator[Path]:
    """Yield the dataset of a set. Files on S3 are fetched to ``work`` and removed afterwards; after an error, the next call resumes.

    Raises:
        VicurError: if it does not exist, is another benchmark, or has another hash.
    """
    where = f"evaluation.sets, {config.label}: {config.path}"
    folder = Path(config.path)
    fetched = is_s3(config.path)
    if fetched:
        objects = objects_at(config.path)
        folder = fetch(remote_files(objects, None), objects, work, events)
    if not (folder / MANIFEST).is_file():
        raise VicurError("is not a staged benchmark.", where=where, remedy="Stage it: vicur benchmarks stage.")
    if (found := dvc_hash(folder).md5) != config.hash:
        raise VicurError(
            f"has the hash {found}, not {config.hash}.",
            where=where,
            remedy="Stage the benchmark again, or set the hash that vicur benchmarks stage prints.",
        )
    if (name := staged_benchmark(folder)) != config.name:
        raise VicurError(
            f"is the benchmark {name}, not {config.name}.", where=where, remedy="Correct its name or path."
        )
    yield folder
    if fetched:
        shutil.rmtree(work, ignore_errors=True)
