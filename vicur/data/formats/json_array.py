"""Reads the elements of a large JSON document one by one: of an array, of the one list in an object, or of an object of objects.

The document is scanned for brackets outside of strings. Each element is parsed by itself, so that an invalid one is a single invalid row
and the document need not fit into memory.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from vicur.data.formats.lines import opened_text
from vicur.data.formats.row_files import NoRowsError
from vicur.data.formats.source_folder import SourceFolder
from vicur.errors import VicurError
from vicur.wording import listed

Kind = Literal["array", "object"]
# Possessive, so that a string without an end takes linear time.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]', re.DOTALL)
_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_OPEN, _CLOSE = b"[{", b"]}"
_TRIED = 20  # elements of a list


@dataclass(frozen=True)
class Element:
    """An element of the document: its bytes are ``data[start:end]``, and ``key`` is its JSON text in an object of objects."""

    start: int
    end: int
    key: bytes | None = None


@contextmanager
def mapped(folder: SourceFolder, name: str) -> Iterator[bytes | mmap.mmap]:
    """Map a text file into memory."""
    with opened_text(folder, name) as stream:
        if not stream.read(1):
            yield b""
            return
        # Not closed here: a search that is not finished still uses it. It is closed when the last user is gone.
        yield mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def start_of(data: bytes | mmap.mmap) -> int:
    """Return the place of the first character after blanks and a byte order mark."""
    place = len(_BOM) if data[: len(_BOM)] == _BOM else 0
    while place < len(data) and data[place : place + 1] in (b" ", b"\t", b"\r", b"\n"):
        place += 1
    return place


def elements(data: bytes | mmap.mmap, where: str, offset: int | None = None) -> Iterator[Element]:
    """Yield the elements that are rows, from the one that begins at ``offset``.

    Raises:
        VicurError: if the document has no rows, or ends too early.
    """
    top = start_of(data)
    kind = data[top : top + 1]
    if kind == b"[":
        yield from _items(data, top + 1 if offset is None else offset, where, to_the_end=True)
    elif kind == b"{":
        if offset is None:
            offset = _rows_in_object(data, top, where)
        keyed = data[offset : offset + 1] == b'"' and _key_at(data, offset) is not None
        yield from _items(data, offset, where, keyed=keyed)
    else:
        raise _invalid("begins neither with [ nor with {", data, top, where)


def _rows_in_object(data: bytes | mmap.mmap, top: int, where: str) -> int:
    """Return the place of the first row: in the only list of objects, or that of the first key if the values are the rows."""
    lists: dict[str, int] = {}
    objects, first_key = 0, None
    for element in _items(data, top + 1, where, keyed=True):
        first_key = element.start - len(element.key or b"") if first_key is None else first_key
        value = _skip_blank(data, element.start)
        if data[value : value + 1] == b"{":
            objects += 1
        elif data[value : value + 1] == b"[":
            inner = _skip_blank(data, value + 1)
            if element.key is not None and _has_objects(data, inner, where):
                lists[element.key.decode("utf-8", "replace").strip('" :')] = inner
    if len(lists) == 1:
        return next(iter(lists.values()))
    if lists:
        raise NoRowsError(
            f"has several lists of rows: {listed(lists)}.",
            where=where,
            remedy="Write one of them to a file of its own.",
        )
    if not objects:
        raise NoRowsError(
            "contains no list of rows.", where=where, remedy="Write an array of objects, or one object a line."
        )
    return _skip_blank(data, top + 1)


def _has_objects(data: bytes | mmap.mmap, place: int, where: str) -> bool:
    """Return whether a list has rows. The first ones may be damaged."""
    if data[place : place + 1] == b"]":
        return False
    first = islice(_items(data, place, where), _TRIED)
    return any(data[(value := _skip_blank(data, each.start)) : value + 1] == b"{" for each in first)


def _items(
    data: bytes | mmap.mmap, place: int, where: str, *, keyed: bool = False, to_the_end: bool = False
) -> Iterator[Element]:
    """Yield the values between commas from ``place`` up to the bracket that closes the surrounding list or object.

    Args:
        to_the_end: whether the document must end there.
    """
    begin = place = _skip_blank(data, place)
    depth = 0
    for token in _TOKEN.finditer(data, place):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
        elif mark in (b"]", b"}"):
            depth -= 1
        elif mark != b"," or depth:
            continue
        if depth < 0 or (mark == b"," and depth == 0):
            if begin < _skip_blank(data, token.start(), backwards=True):
                yield _element(data, begin, token.start(), keyed)
            if depth < 0:
                if mark == b"]" and to_the_end:
                    _require_end(data, token.end(), where)
                return
            begin = _skip_blank(data, token.end())
    raise _invalid("ends before its last bracket is closed", data, len(data), where)


def _require_end(data: bytes | mmap.mmap, place: int, where: str) -> None:
    # Rows that follow the end, as in two documents joined with `cat`, must not be lost in silence.
    after = _skip_blank(data, place)
    if after < len(data):
        raise _invalid("continues after its last bracket is closed", data, after, where)


def _element(data: bytes | mmap.mmap, begin: int, end: int, keyed: bool) -> Element:
    after = _key_at(data, begin) if keyed else None
    return Element(begin, end) if after is None else Element(after, end, bytes(data[begin:after]))


def _key_at(data: bytes | mmap.mmap, place: int) -> int | None:
    """Return the place after ``"key" :``, or ``None`` without the key."""
    token = _TOKEN.match(data, place)
    if token is None or token[0][:1] != b'"':
        return None
    colon = _skip_blank(data, token.end())
    return colon + 1 if data[colon : colon + 1] == b":" else None


def _skip_blank(data: bytes | mmap.mmap, place: int, *, backwards: bool = False) -> int:
    if backwards:
        while place > 0 and data[place - 1] in _BLANK:
            place -= 1
        return place
    while place < len(data) and data[place] in _BLANK:
        place += 1
    return place


def _invalid(problem: str, data: bytes | mmap.mmap, place: int, where: str) -> VicurError:
    line = bytes(data[:place]).count(b"\n") + 1
    return VicurError(
        f"{problem} (line {line}).", where=where, remedy="Write valid JSON: an array of objects, or one object a line."
    )
