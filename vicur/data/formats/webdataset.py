"""WebDataset: tar archives whose members belong together if their names are equal up to the first dot.

    train-000000.tar:  000000000.jpg  000000000.json  000000001.jpg  000000001.json  ...

- Images (``.jpg``, ``.png``, ``.webp``, ..., also ``.left.png``) are those of the sample, in the order of their names.
- A video (``.mp4``, ``.webm``, ``.mkv``, ``.avi``, ``.mov``) is that of the sample.
- ``.json`` is an object with fields such as question and answer.
- ``.txt`` is the question and ``.cls`` the answer, unless the object has them. Without ``.cls``, ``.txt`` is what the object lacks.
- Other members are not read.

Archives are not trusted: nothing is unpacked to disk. A sample with a link, a device, a path out of the archive or an oversized member is
an unusable row.
"""

from __future__ import annotations

import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from vicur.config.data import ImportConfig
from vicur.data.formats.base import UNIT_BYTES, UNIT_ROWS, Format, Recognised, Record, Unit
from vicur.data.formats.json_values import object_or_fault
from vicur.data.formats.registry import register
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.paths import is_inside
from vicur.data.schema import Fault
from vicur.data.splitting import file_split
from vicur.errors import VicurError

_ENDINGS = (".tar", ".tar.gz", ".tgz")
_IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
_VIDEOS = ("mp4", "webm", "mkv", "avi", "mov")
_TEXTS = ("json", "txt", "cls")
_LARGEST_IMAGE = 256 << 20
_LARGEST_TEXT = 16 << 20
_LARGEST_SAMPLE = 512 << 20
_MOST_MEMBERS = 1024  # frames of a video, too
_CHUNK = 1 << 20


@dataclass
class _Sample:
    """The members of one key, before they are read as columns."""

    key: str
    offset: int
    images: dict[str, bytes] = field(default_factory=dict)
    videos: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    others: int = 0
    bytes: int = 0
    fault: Fault | None = None


@register
class WebDatasetFormat(Format):
    """Tar archives of samples."""

    name = "webdataset"
    description = "WebDataset: .tar shards with .json, .txt or .cls next to .jpg or .png"

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        found = folder.ending(*_ENDINGS, patterns=config.files)
        return Recognised(found) if found and _has_images(folder, found[0]) else None

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        """Divide each archive at samples. The offset of a unit is the place of its first member; a compressed archive is one unit."""
        found = folder.ending(*_ENDINGS, patterns=config.files)
        if not found:
            raise VicurError(
                "has no .tar archives.",
                where=str(folder.path),
                remedy="Name the folder that has them, or correct data.files (shard-*.tar).",
            )
        return [unit for name in found for unit in _units(folder, name, file_split(name, config.splits))]

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        with folder.open(unit.file) as stream:
            stream.seek(unit.offset)
            where = str(folder.path / unit.file)
            for number, sample in enumerate(_samples(stream, unit.file, where), start=unit.first):
                if number >= unit.end:
                    return
                yield Record(unit.file, number, _columns(sample), unit.split)


def _units(folder: SourceFolder, name: str, split: str | None) -> list[Unit]:
    units: list[Unit] = []
    number, first, begin = 0, 1, 0
    is_divisible = name.lower().endswith(".tar")
    with folder.open(name) as stream:
        for sample in _samples(stream, name, str(folder.path / name), read=False):
            number += 1
            is_full = number - first >= UNIT_ROWS or sample.offset - begin >= UNIT_BYTES
            if is_divisible and number > first and is_full:
                units.append(Unit(file=name, first=first, end=number, offset=begin, split=split))
                first, begin = number, sample.offset
    if number >= first:
        units.append(Unit(file=name, first=first, end=number + 1, offset=begin, split=split))
    return units


def _has_images(folder: SourceFolder, name: str) -> bool:
    try:
        with folder.open(name) as stream:
            for sample in _samples(stream, name, name, read=False):
                return bool((sample.images or sample.videos) and sample.texts)
    except VicurError:
        pass
    return False


def _samples(stream: BinaryIO, name: str, where: str, *, read: bool = True) -> Iterator[_Sample]:
    """Yield the samples from the place of the stream on, with the bytes of their members, or without if ``read`` is false."""
    mode = "r:" if name.lower().endswith(".tar") else "r|gz"
    sample: _Sample | None = None
    try:
        begin = stream.tell()
        # tarfile counts from the stream's position.
        with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                archive.members = []  # tarfile would keep all of them
                if member.isdir():
                    continue
                key, kind = _key(member.name)
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key, member.offset if mode == "r:" else begin)
                _add(sample, member, kind, archive if read else None)
            if mode == "r:":
                _require_end(stream, archive.offset)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise VicurError(
            f"is a damaged archive ({error}).", where=where, remedy="Fetch or write the archive again."
        ) from error
    if sample is not None:
        yield sample


def _require_end(stream: BinaryIO, offset: int) -> None:
    """Raise an error unless the archive ends with blocks of zeros, and with nothing else. tarfile would ignore what follows them."""
    stream.seek(offset)
    rest = stream.read(tarfile.BLOCKSIZE)
    if len(rest) < tarfile.BLOCKSIZE or any(rest):
        raise tarfile.ReadError("it is truncated")
    while rest := stream.read(_CHUNK):
        if any(rest):
            raise tarfile.ReadError("it has data behind its end; archives cannot be joined with cat")


def _key(name: str) -> tuple[str, str]:
    """Split a member's name at the first dot behind its folders: ``a/b.left.png`` is key ``a/b`` and kind ``left.png``."""
    folder, base = posixpath.split(name)
    key, _, kind = base.partition(".")
    return posixpath.join(folder, key), kind.lower()


def _add(sample: _Sample, member: tarfile.TarInfo, kind: str, archive: tarfile.TarFile | None) -> None:
    """Add a member to its sample, or note why the sample cannot be used."""
    sample.fault = sample.fault or _unsafe(sample, member)
    last = kind.rpartition(".")[2]
    if sample.fault is not None:
        return
    if last not in (*_IMAGES, *_VIDEOS, *_TEXTS):
        sample.others += 1
        return
    target = sample.images if last in _IMAGES else sample.videos if last in _VIDEOS else sample.texts
    if kind in target:
        sample.fault = Fault(
            field=kind, reason=f"{member.name!r} is twice in the archive", remedy="Give each sample a key."
        )
        return
    sample.bytes += member.size
    stream = archive.extractfile(member) if archive is not None else None
    data = stream.read() if stream is not None else b""
    if stream is not None and len(data) < member.size:
        raise tarfile.ReadError("it is truncated")
    target[kind] = data


def _unsafe(sample: _Sample, member: tarfile.TarInfo) -> Fault | None:
    shown = repr(member.name[:80])
    if not is_inside(member.name.removeprefix("./")):
        return Fault(
            field="", reason=f"the member {shown} leads out of the archive", remedy="Pack it under a relative path."
        )
    if not member.isreg():
        kind = "a link" if member.issym() or member.islnk() else "not a regular file"
        return Fault(field="", reason=f"the member {shown} is {kind}", remedy="Pack the file itself.")
    most = _LARGEST_IMAGE if member.name.lower().endswith((*_IMAGES, *_VIDEOS)) else _LARGEST_TEXT
    known = member.name.lower().endswith((*_IMAGES, *_VIDEOS, *_TEXTS))
    if known and (member.size > most or sample.bytes + member.size > _LARGEST_SAMPLE):
        return Fault(
            field="",
            reason=f"the member {shown} has {member.size >> 20} MiB, more than the {most >> 20} MiB that are read",
            remedy="Scale the image down, or leave the sample out.",
        )
    if len(sample.images) + len(sample.videos) + len(sample.texts) + sample.others >= _MOST_MEMBERS:
        return Fault(field="", reason=f"has more than {_MOST_MEMBERS} members", remedy="Give each sample a key.")
    return None


def _columns(sample: _Sample) -> dict[str, Any] | Fault:
    if sample.fault is not None:
        return sample.fault
    columns: dict[str, Any] = {}
    for kind, data in sample.texts.items():
        if kind.rpartition(".")[2] == "json":
            found = object_or_fault(data)
            if isinstance(found, Fault):
                return found.model_copy(update={"field": kind})
            columns.update(found)
            continue
        try:
            columns[kind] = data.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            return Fault(field=kind, reason=f"is not UTF-8 ({error.reason})", remedy="Write the text in UTF-8.")
    columns.setdefault("id", sample.key)
    if sample.videos:
        columns["video"] = [sample.videos[kind] for kind in sorted(sample.videos)]
    if sample.images:
        columns["images"] = [sample.images[kind] for kind in sorted(sample.images)]
    _name_texts(columns)
    return columns


def _name_texts(columns: dict[str, Any]) -> None:
    """Call ``.txt`` and ``.cls`` question and answer where the sample does not have them already."""
    asked, answered = "question" in columns, "answer" in columns
    if "cls" in columns and not answered:
        columns["answer"] = columns.pop("cls")
        answered = True
    if "txt" in columns and not asked:
        columns["question"] = columns.pop("txt")
    elif "txt" in columns and not answered:
        columns["answer"] = columns.pop("txt")
