"""Lines of text files: read with a limit on their length, and divided into units without decoding them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from vicur.data.formats.base import UNIT_BYTES, UNIT_ROWS, Record, Unit
from vicur.data.formats.json_values import object_or_fault
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault
from vicur.errors import VicurError

LONGEST_LINE = 256 << 20  # bytes, enough for several images in a line
_CHUNK = 1 << 20
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def line_units(folder: SourceFolder, name: str, split: str | None = None) -> list[Unit]:
    """Divide a text file into units of whole lines."""
    units: list[Unit] = []
    first, begin, place, number = 1, 0, 0, 0
    with opened_text(folder, name) as stream:
        for length in _line_lengths(stream):
            number += 1
            place += length
            if number - first + 1 >= UNIT_ROWS or place - begin >= UNIT_BYTES:
                units.append(Unit(file=name, first=first, end=number + 1, offset=begin, split=split))
                first, begin = number + 1, place
    if number >= first or not units:
        units.append(Unit(file=name, first=first, end=number + 1, offset=begin, split=split))
    return units


def json_lines(folder: SourceFolder, unit: Unit) -> Iterator[Record]:
    """Yield the JSON objects of a unit's lines. Blank lines do not count."""
    for number, line in _numbered(folder, unit):
        if line is None:
            fault = Fault(
                field="",
                reason=f"is longer than {LONGEST_LINE >> 20} MiB",
                remedy="Store the images as files, and name them in the row.",
            )
            yield Record(unit.file, number, fault, unit.split)
        elif line.strip():
            yield Record(unit.file, number, object_or_fault(line), unit.split)


def opened_text(folder: SourceFolder, name: str) -> BinaryIO:
    """Open a text file, or raise an error if its first bytes say that it is UTF-16."""
    stream = folder.open(name)
    start = stream.read(2)
    stream.seek(0)
    if start in _UTF16:
        stream.close()
        raise VicurError(
            "line 1 begins with the byte order mark of UTF-16, but the text must be UTF-8.",
            where=str(folder.path / name),
            remedy="Save it as UTF-8 (iconv -f utf-16 -t utf-8).",
        )
    return stream


def _numbered(folder: SourceFolder, unit: Unit) -> Iterator[tuple[int, bytes | None]]:
    """Yield the number of each line and its bytes, or ``None`` in place of a line that is too long."""
    with opened_text(folder, unit.file) as stream:
        stream.seek(unit.offset)
        for number in range(unit.first, unit.end):
            line = stream.readline(LONGEST_LINE)
            if not line.endswith(b"\n") and len(line) == LONGEST_LINE:
                yield number, None
                while line and not line.endswith(b"\n"):
                    line = stream.readline(_CHUNK)
            elif line:
                yield number, line


def _line_lengths(stream: BinaryIO) -> Iterator[int]:
    # readline() with a limit: a file without line ends must not be read into memory.
    length = 0
    while part := stream.readline(_CHUNK):
        length += len(part)
        if part.endswith(b"\n"):
            yield length
            length = 0
    if length:
        yield length
