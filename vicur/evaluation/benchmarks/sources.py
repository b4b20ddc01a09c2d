"""Where a benchmark's own files are: in a folder, or below an address on S3, from which only the needed ones are fetched."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vicur.data.fetch import fetch
from vicur.data.remote import remote_files
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.declaration import Benchmark
from vicur.evaluation.benchmarks.staging import needed_files
from vicur.stage.events import Events
from vicur.storage.folders import unwritable
from vicur.storage.object_store import objects_at
from vicur.storage.s3 import is_s3


@contextmanager
def own_files(benchmark: Benchmark, source: str, output: Path, events: Events) -> Iterator[Path]:
    """Yield a folder with a benchmark's files: ``source`` or a folder of the benchmark's name in it.

    Files on S3 are fetched next to ``output`` and removed after success; after an error, the next call resumes.

    Raises:
        VicurError: if there is no such folder or address.
    """
    if not is_s3(source):
        folder = Path(source)
        if not folder.is_dir():
            raise VicurError("is not a folder.", where=f"--from {source}", remedy="Name a folder or an s3:// address.")
        yield folder / benchmark.name if (folder / benchmark.name).is_dir() else folder
        return
    objects = objects_at(source)
    listed = {file.path: file for file in remote_files(objects, None)}
    below = f"{benchmark.name}/"
    prefix = below if any(path.startswith(below) for path in listed) else ""
    paths = needed_files(benchmark, [path.removeprefix(prefix) for path in listed if path.startswith(prefix)])
    work = output.absolute().parent / f".{output.name}.{hashlib.sha256(source.encode()).hexdigest()[:12]}.fetch"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(output, error) from error
    yield fetch([listed[prefix + path] for path in paths], objects, work, events) / prefix
    shutil.rmtree(work, ignore_errors=True)
