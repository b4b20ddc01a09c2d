"""``vicur benchmarks stage``: from a benchmark's own files to a dataset of ours, with the harness's prompts, pinned by its hash.

The file is identified by its MD5, which is that of the harness. Nothing is downloaded. Every row that counts for the paper's figure must be
usable: a benchmark with a missing question has another denominator.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vicur.data import read_manifest
from vicur.data.dataset import MANIFEST, DatasetWriter, iter_examples
from vicur.data.images import UnusableImageError, normalised
from vicur.data.pin import dvc_hash, file_md5
from vicur.data.schema import Example, Fault, SkippedRow, UnusableRowError
from vicur.data.video.frames import SampledVideo
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.content import KEY, question_of, used_images
from vicur.evaluation.benchmarks.declaration import Benchmark, Columns
from vicur.evaluation.benchmarks.tables import Row, decoded_images, is_reference, read_rows
from vicur.evaluation.benchmarks.videos import sampled_video
from vicur.storage.folders import new_folder

SPLIT = "test"
"""The split of all staged questions."""
SOURCE = "benchmark"
"""``type`` of the source in the manifest of a staged benchmark."""
_MAX_PIXELS = 64_000_000
_SHOWN = 5  # unusable rows in a message

OnRow = Callable[[int], None]


@dataclass(frozen=True)
class Staged:
    """A dataset that was written."""

    rows: int
    images: int
    dataset_hash: str
    """DVC's hash of the folder, ``<md5>.dir``."""
    is_official: bool
    """Whether the file is the one that the harness downloads."""


def stage(benchmark: Benchmark, folder: Path, output: Path, *, md5: str = "", on_row: OnRow | None = None) -> Staged:
    """Write the questions of a benchmark to a dataset with the split ``test``.

    Args:
        folder: folder with the benchmark's own files.
        output: folder of the dataset.
        md5: MD5 that the file must have, in place of the benchmark's own.
        on_row: called with the number of rows that have been written.

    Raises:
        VicurError: if the file is missing, has another MD5 or another number of rows, or a row cannot be used.
    """
    file = _checked(benchmark, folder, md5)
    images = rows = 0
    with new_folder(output) as partial:
        writer = DatasetWriter(partial)
        for example in _examples(benchmark, folder, file):
            writer.add(example)
            rows, images = rows + 1, images + len(example.images)
            if on_row is not None:
                on_row(rows)
        official = bool(benchmark.md5) and (md5 or benchmark.md5) == benchmark.md5
        if rows == 0 or (official and rows != benchmark.rows):
            raise VicurError(
                f"has {rows:,} questions that count, but {benchmark.title} has {benchmark.rows or 'some'}.",
                where=str(file),
                remedy="Fetch the benchmark's file again.",
            )
        source = {"type": SOURCE, "name": benchmark.name, "file": benchmark.file, "md5": file_md5(file)}
        writer.finish({**source, "official": official}, None, 0)
    return Staged(rows, images, dvc_hash(output).md5, official)


def needed_files(benchmark: Benchmark, names: list[str]) -> list[str]:
    """Return those of the files of a source that staging reads. Videos are among them."""
    if not benchmark.md5:
        return names
    return [name for name in names if name == benchmark.file or (benchmark.is_video and name.startswith("video/"))]


def _checked(benchmark: Benchmark, folder: Path, md5: str) -> Path:
    file = folder / benchmark.file
    if not file.is_file():
        what = "is not a prepared dataset" if not benchmark.md5 else "is not there"
        fetch = (
            f"Download {benchmark.file} of VLMEvalKit"
            if benchmark.md5
            else "Prepare your split with vicur data prepare"
        )
        raise VicurError(
            f"{what}.",
            where=f"--from {file}",
            remedy=f"{fetch}: nothing is downloaded here (docs/benchmarks-paper.md).",
        )
    wanted = md5 or benchmark.md5
    if wanted and (found := file_md5(file)) != wanted:
        raise VicurError(
            f"has the MD5 {found}, but {'--md5 says' if md5 else f'{benchmark.title} has'} {wanted}.",
            where=str(file),
            remedy="Fetch it again. If it is another version that you want, name its MD5 with --md5.",
        )
    return file


def _examples(benchmark: Benchmark, folder: Path, file: Path) -> Iterator[Example]:
    if benchmark.file == MANIFEST:
        yield from _own_examples(benchmark, folder)
        return
    faults: list[SkippedRow] = []
    seen: set[str] = set()
    images = _Images(file) if not benchmark.is_video else None
    for row in read_rows(file):
        index = row.columns.get("index", "")
        try:
            _require_columns(benchmark, row.columns)
            if index in seen:
                raise UnusableRowError("index", f"{index!r} occurs twice", "Use the benchmark's own file.")
            seen.add(index)
            if not benchmark.is_counted(row.columns):
                continue
            if images is not None:
                example = _example(benchmark, row.columns, images.of(row))
            else:
                example = _video_example(benchmark, row.columns, _sampled(folder, row.columns["video"]))
        except UnusableRowError as fault:
            faults.append(_fault(fault.fault, file, row, index))
        except ValidationError as error:
            faults.append(_fault(Fault.of(error), file, row, index))
        else:
            if not faults:
                yield example
    if faults:
        listed = "\n  ".join(map(str, faults[:_SHOWN]))
        more = f"\n  and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        raise VicurError(
            f"has {len(faults):,} rows that cannot be used, so that {benchmark.title} would have another denominator:\n  {listed}{more}\n",
            where=str(file),
            remedy="Fetch the benchmark's files again.",
        )


def _fault(fault: Fault, file: Path, row: Row, index: str) -> SkippedRow:
    return SkippedRow(**fault.model_dump(), file=file.name, row=row.number, id=index[:200])


def _require_columns(benchmark: Benchmark, columns: Columns) -> None:
    for name in benchmark.columns:
        if name not in columns:
            raise UnusableRowError(name, "is missing", "Use the benchmark's own file, without changes.")


def _example(benchmark: Benchmark, columns: Columns, images: list[bytes]) -> Example:
    """Return the example of a row about images, of which those that the prompt does not show are left out."""
    used, parts = used_images(benchmark.parts(columns, len(images)))
    if not used:
        raise UnusableRowError("image", "is not shown by the question", "Use the benchmark's own file.")
    return _with(benchmark, columns, parts, tuple(images[place] for place in used), {})


def _video_example(benchmark: Benchmark, columns: Columns, video: SampledVideo) -> Example:
    mark = {"video": {"timestamps": list(video.timestamps), "fps": video.fps}}
    return _with(benchmark, columns, list(benchmark.parts(columns, 1)), video.frames, mark)


def _with(
    benchmark: Benchmark, columns: Columns, parts: list[str | int], images: tuple[bytes, ...], more: dict[str, Any]
) -> Example:
    # Reads the answer and the choices as scoring will, so that a row without them is found now.
    answer = benchmark.gold(columns).answer
    group = benchmark.group(columns)
    record = {"name": benchmark.name, "index": columns["index"], "columns": dict(columns), "parts": parts}
    return Example(
        id=f"{benchmark.name}-{columns['index']}",
        images=images,
        question=question_of(parts, is_video=benchmark.is_video),
        answer=answer,
        source=benchmark.name,
        split=SPLIT,
        metadata={"kind": benchmark.kind(columns), KEY: record, **({"group": group} if group else {}), **more},
    )


def _own_examples(benchmark: Benchmark, folder: Path) -> Iterator[Example]:
    """Yield the questions of a prepared dataset's test split, with the content of their prompts in this project's own form."""
    from vicur.prompts import ImagePart, content_of

    if not read_manifest(folder).examples.get(SPLIT):
        raise VicurError(
            f"has no split {SPLIT!r}.", where=f"--from {folder}", remedy="Give your questions the split test."
        )
    for example in iter_examples(folder, SPLIT):
        content = content_of(example.question, example.choices, example.visuals, is_video=example.video is not None)
        parts = [
            part if isinstance(part, str) else part.index if isinstance(part, ImagePart) else 0 for part in content
        ]
        columns = {"index": example.id, "question": example.question, "answer": example.answer, "kind": example.kind}
        if example.choices:
            columns["choices"] = json.dumps(example.choices, ensure_ascii=False)
        record = {"name": benchmark.name, "index": example.id, "columns": columns, "parts": parts}
        metadata = {**example.metadata, "kind": example.kind, "group": example.group, KEY: record}
        # The choices are part of the content.
        question = question_of(parts, is_video=example.video is not None)
        yield example.model_copy(
            update={"question": question, "choices": (), "source": benchmark.name, "metadata": metadata}
        )


class _Images:
    """The images of a table's rows. A row may name another row that has them, so that the file is read twice."""

    def __init__(self, file: Path) -> None:
        self._named = {row.image for row in read_rows(file) if row.image is not None and is_reference(row.image)}
        self._file = file
        self._shared: dict[str, str] = {}

    def of(self, row: Row) -> list[bytes]:
        """Return the images of a row in the form of stored images.

        Raises:
            UnusableRowError: if it has none, or one cannot be used.
        """
        if row.image is None:
            raise UnusableRowError("image", "is missing", "Use the benchmark's own file, without changes.")
        cell = row.image
        if is_reference(cell):
            if not self._shared:
                self._shared = {
                    index: each.image
                    for each in read_rows(self._file)
                    if (index := each.columns.get("index", "")) in self._named
                    and each.image is not None
                    and not is_reference(each.image)
                }
            if cell not in self._shared:
                raise UnusableRowError("image", f"names row {cell[:64]!r}, which has no image", "Use the own file.")
            cell = self._shared[cell]
        return [_stored(data) for data in decoded_images(cell)]


# Consecutive questions are often about one image.
@lru_cache(maxsize=4)
def _stored(data: bytes) -> bytes:
    try:
        return normalised(data, _MAX_PIXELS).data
    except UnusableImageError as fault:
        raise UnusableRowError("image", fault.reason, fault.remedy) from fault


@lru_cache(maxsize=1)
def _sampled(folder: Path, name: str) -> SampledVideo:
    return sampled_video(folder, name)
