"""Reads a user's own dataset: ``examples.jsonl`` or ``examples.parquet``, and the image files that its rows name.

A row has the fields of :class:`vicur.data.schema.Example`; ``source``, ``choices``, ``rationale``, ``cue`` and ``metadata`` are optional.
``images`` lists paths relative to the folder; in parquet, an image may also be part of the row, as ``{"bytes", "path"}``, the format of
Hugging Face's ``datasets``. The folder is not trusted: an unusable row is returned as a :class:`SkippedRow`, never raised.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vicur.answers import can_be_met
from vicur.config.data import ImportConfig
from vicur.data.images import UnusableImageError, normalised
from vicur.data.schema import Example, Fault
from vicur.errors import VicurError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

EXAMPLES = ("examples.jsonl", "examples.parquet")
_SHOWN = 60  # characters of an answer in a message
_BATCH = 64  # parquet rows in memory at a time, with their images


class SkippedRow(Fault):
    """An unusable row."""

    file: str
    """The examples file."""
    row: int
    """Line number in the file, or row number in parquet; the first is 1."""

    def __str__(self) -> str:
        field = f":{self.field}" if self.field else ""
        return f"{self.file}:row {self.row}{field}: {self.reason}. {self.remedy}"


class _UnusableError(Exception):
    def __init__(self, field: str, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.fault = Fault(field=field, reason=reason, remedy=remedy)


def examples_file(folder: Path) -> Path:
    """Return the examples file of a folder, or raise an error unless there is exactly one."""
    found = [folder / name for name in EXAMPLES if (folder / name).is_file()]
    if not found:
        raise VicurError(
            f"contains neither {EXAMPLES[0]} nor {EXAMPLES[1]}." if folder.is_dir() else "is not a folder.",
            where=str(folder),
            remedy="Set data.path to the folder with the examples file.",
        )
    if len(found) > 1:
        raise VicurError(
            f"contains both {EXAMPLES[0]} and {EXAMPLES[1]}.",
            where=str(folder),
            remedy="Remove one of them.",
        )
    return found[0]


def count_rows(folder: Path) -> int:
    """Count the rows that :func:`read_folder` yields."""
    file = examples_file(folder)
    if file.suffix == ".parquet":
        with _open_parquet(file) as parquet:
            return int(parquet.metadata.num_rows)
    return sum(1 for _ in _jsonl_rows(file))


def read_folder(folder: Path, config: ImportConfig) -> Iterator[Example | SkippedRow]:
    """Yield each row in order, as an example or as the reason why it is unusable."""
    file = examples_file(folder)
    rows = _parquet_rows(file) if file.suffix == ".parquet" else _jsonl_rows(file)
    first_use: dict[str, int] = {}
    for number, row in rows:
        try:
            example = _example(row, folder, config.max_pixels)
            if example.id in first_use:
                reason = f"{example.id!r} is already the id of row {first_use[example.id]}"
                raise _UnusableError("id", reason, "Give each row a unique id.")
        except _UnusableError as unusable:
            yield SkippedRow(file=file.name, row=number, **unusable.fault.model_dump())
        else:
            first_use[example.id] = number
            yield example


def _jsonl_rows(file: Path) -> Iterator[tuple[int, Any]]:
    # Lines are parsed later, where errors are attributed to their row. Blank lines are not rows.
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, line


def _parquet_rows(file: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa

    number = 0
    with _open_parquet(file) as parquet:
        try:
            for batch in parquet.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise _unreadable(error, f"{file}: after row {number}") from error


def _open_parquet(file: Path) -> ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(error, str(file)) from error


def _unreadable(error: Exception, where: str) -> VicurError:
    reason = str(error).splitlines()[0].rstrip(".")
    return VicurError(f"cannot be read as parquet ({reason}).", where=where, remedy="Write the file again.")


def _example(row: Any, folder: Path, max_pixels: int) -> Example:
    fields = _parsed(row) if isinstance(row, bytes) else dict(row)
    # A parquet row has every column; null means that the field is absent.
    fields = {name: value for name, value in fields.items() if value is not None}
    if "images" in fields:
        fields["images"] = _images(fields["images"], folder, max_pixels)
    if isinstance(fields.get("choices"), list):
        fields["choices"] = tuple(fields["choices"])
    if isinstance(fields.get("metadata"), str):
        fields["metadata"] = _parsed(fields["metadata"].encode("utf-8", "surrogatepass"), "metadata")
    try:
        example = Example(**{"source": "folder", **fields})
    except ValidationError as error:
        fault = Fault.of(error)
        raise _UnusableError(fault.field, fault.reason, fault.remedy) from error
    if not can_be_met(example.answer, example.choices):
        reason = f"no response can be judged correct: {_shortened(example.answer)} does not match itself"
        raise _UnusableError(
            "answer", reason, "Write one final answer: a number, formula, word or choice (docs/answers.md)."
        )
    return example


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _parsed(text: bytes, field: str = "") -> dict[str, Any]:
    # utf-8-sig also accepts a byte order mark, which editors on Windows write.
    try:
        value = json.loads(text.decode("utf-8-sig"), parse_constant=_no_constant, object_pairs_hook=_each_key_once)
    except (ValueError, RecursionError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else f"is not JSON ({error})"
        raise _UnusableError(field, reason, "Write one JSON object in UTF-8.") from error
    if not isinstance(value, dict):
        raise _UnusableError(field, f"is a JSON {type(value).__name__}, not an object", "Write one JSON object.")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        # json would silently keep the last value of a repeated key.
        repeated = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
        raise ValueError(f"the key {repeated!r} occurs twice")
    return fields


def _images(value: Any, folder: Path, max_pixels: int) -> tuple[bytes, ...]:
    if not isinstance(value, list):
        raise _UnusableError("images", "is not a list", "Write a list of image files, even for a single image.")
    return tuple(_image(item, f"images[{place}]", folder, max_pixels) for place, item in enumerate(value))


def _image(item: Any, field: str, folder: Path, max_pixels: int) -> bytes:
    name = "the image in the row"
    data = item.get("bytes") if isinstance(item, dict) else None
    if isinstance(item, dict) and data is None:
        item = item.get("path")
    if not isinstance(data, bytes):
        data = _file(item, field, folder)
        name = repr(item)
    try:
        return normalised(data, max_pixels).data
    except UnusableImageError as fault:
        raise _UnusableError(field, f"{name} {fault.reason}", fault.remedy) from fault


def _file(name: Any, field: str, folder: Path) -> bytes:
    if not isinstance(name, str):
        raise _UnusableError(field, "is not a path", "Write the path of an image file relative to the folder.")
    try:
        return locate(folder, name).read_bytes()
    except VicurError as error:
        raise _UnusableError(field, error.problem.rstrip("."), error.remedy) from error
    except FileNotFoundError:
        raise _UnusableError(field, f"the file {name!r} does not exist", "Add the file, or correct its path.") from None
    except (OSError, ValueError) as error:
        raise _UnusableError(field, f"{name!r} cannot be read ({error})", "Correct the file or its path.") from error


def locate(folder: Path, name: str) -> Path:
    """Return the path of a file that a row names, or raise an error if it would be outside the folder."""
    if not is_inside(name):
        raise VicurError(
            f"{name!r} is not a path inside the folder.",
            where=str(folder),
            remedy="Write the path relative to the folder.",
        )
    path = folder / name
    # A symbolic link may still lead outside.
    if not path.resolve().is_relative_to(folder.resolve()):
        raise VicurError(
            f"{name!r} leads out of the folder through a symbolic link.",
            where=str(folder),
            remedy="Copy the file into the folder.",
        )
    return path


def is_inside(name: str) -> bool:
    """Check that a relative path stays below its folder: not absolute, and without ``..``."""
    # A dataset is read on any operating system, so the path must be safe under the rules of each.
    windows = PureWindowsPath(name)
    absolute = PurePosixPath(name).is_absolute() or windows.is_absolute() or windows.drive or windows.root
    return not absolute and ".." not in windows.parts and "\0" not in name and bool(windows.parts)
