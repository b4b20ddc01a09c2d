"""Lists, sets, tuples, intervals, vectors and matrices: their items, and whether the order of the items matters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vicur.answers.notation import ROW_END, SET_CLOSE, SET_OPEN
from vicur.answers.words import is_prose

Same = Callable[[str, str], bool]

_PAIRS = {"(": ")", "[": "]", "{": "}", SET_OPEN: SET_CLOSE, "⟨": "⟩"}
_OPENING, _CLOSING = "".join(_PAIRS), "".join(_PAIRS.values())
_WORDS = re.compile(r"\s*(?:[,;]\s*)?(?<![A-Za-z])(and|or)(?![A-Za-z])\s*|\s+&\s+")
_POINT = re.compile(r"(?:point )?[A-Z]'? ?(?=\()")
_MATRIX = re.compile(r"\\begin\{(?:[pbB]?matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{(?:[pbB]?matrix|array)\}", re.DOTALL)
_NAME = re.compile(r"([A-Za-zα-ω](?:_\{?\w\}?)?) ?= ?")
_CHAIN = re.compile(r"\s*(<|>|≤|≥)\s*")
_VARIABLE = re.compile(r"[A-Za-zα-ω]")
_MAX_ITEMS = 64
_MAX_UNORDERED = 12


@dataclass(frozen=True)
class Collection:
    """Items with the brackets around them, such as ``(]``; without brackets, ``kind`` is empty."""

    kind: str
    items: tuple[str, ...]
    ordered: bool = True


@dataclass(frozen=True)
class Interval:
    """All numbers between two ends. An end is included if its flag is set."""

    low: str
    high: str
    includes: tuple[bool, bool]


def collection(text: str) -> Collection | None:
    """Read plain ``text`` as a collection of at least two items, or return ``None``."""
    text = _POINT.sub("", text, count=1)
    if matrix := _MATRIX.fullmatch(text):
        return _matrix(matrix[1])
    if len(unions := _split(text, "∪")) > 1:
        return Collection("∪", tuple(unions), ordered=False)
    if text.count("±") == 1:
        plus, minus = (text.replace("±", sign).removeprefix("+").strip() for sign in "+-")
        return Collection("", (plus, minus), ordered=False)
    if enclosed(text):
        items = _split(text[1:-1], ",;")
        kind = text[0] + text[-1]
        is_set = kind in ("{}", SET_OPEN + SET_CLOSE)
        return Collection("{}" if is_set else kind, tuple(items), ordered=not is_set) if len(items) > 1 else None
    items, joined = _listed(text)
    if not 1 < len(items) <= _MAX_ITEMS:
        return None
    return Collection("", tuple(items), ordered=not (joined or _alternatives(items) or all(map(is_prose, items))))


def enclosed(text: str) -> bool:
    """Return whether one pair of brackets encloses all of ``text``."""
    if len(text) < 2 or text[0] not in _OPENING or text[-1] not in _CLOSING:
        return False
    if text[-1] != _PAIRS[text[0]] and not (text[0] in "([" and text[-1] in ")]"):
        return False
    depth = 0
    for position, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth == 0:
            return position == len(text) - 1
    return False


def same_collection(gold: Collection, stated: Collection, same: Same) -> bool:
    """Return whether two collections have the same items, in the same order if it matters."""
    if not _same_brackets(gold, stated):
        return False
    left, right = gold.items, stated.items
    if gold.kind == "{}":
        left, right = tuple(dict.fromkeys(left)), tuple(dict.fromkeys(right))
    if len(left) != len(right) or ("…" in left) != ("…" in right):
        return False
    if _names(left) and _names(right):
        return _match(left, right, same)
    in_order = gold.ordered and (stated.ordered or stated.kind == "") and not _alternatives(right)
    if "…" in left or in_order:
        return all(map(same, left, right))
    # "x = 1, y = 2" in any order, but (1, 2) answers it only in this order.
    if gold.kind == "" and bool(_names(left)) != bool(_names(right)) and not _alternatives(left) and _names(left):
        return all(map(same, left, right))
    return _match(left, right, same)


def interval(text: str) -> Interval | None:
    """Read an interval (``[3, ∞)``) or an inequality of one variable (``x ≥ 3``, ``1 < x ≤ 2``), or return ``None``."""
    if enclosed(text) and text[0] in "([" and len(ends := _split(text[1:-1], ",")) == 2:
        return Interval(ends[0].removeprefix("+"), ends[1].removeprefix("+"), (text[0] == "[", text[-1] == "]"))
    parts = _CHAIN.split(text)
    if len(parts) == 3:
        left, sign, right = parts
        if _VARIABLE.fullmatch(right) and not _VARIABLE.fullmatch(left):
            left, sign, right = right, {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}[sign], left
        if not _VARIABLE.fullmatch(left) or not right:
            return None
        return (
            Interval(right, "∞", (sign == "≥", False)) if sign in ">≥" else Interval("-∞", right, (False, sign == "≤"))
        )
    if len(parts) == 5 and _VARIABLE.fullmatch(parts[2]):
        low, first, _, second, high = parts
        if first in ">≥" and second in ">≥":
            low, first, second, high = high, "≤" if second == "≥" else "<", "≤" if first == "≥" else "<", low
        return Interval(low, high, (first == "≤", second == "≤")) if first in "<≤" and second in "<≤" else None
    return None


def without_thousands(text: str) -> Collection | None:
    """Read a number with commas (``100,200,300``) as a list."""
    parts = text.split(",")
    return Collection("", tuple(parts)) if len(parts) > 2 and all(part.strip().isdecimal() for part in parts) else None


def _same_brackets(gold: Collection, stated: Collection) -> bool:
    kinds = {gold.kind.replace("⟨", "(").replace("⟩", ")"), stated.kind.replace("⟨", "(").replace("⟩", ")")}
    if len(kinds) == 1:
        return True
    if "" in kinds:
        return kinds & {"(]", "[)", "∪", "matrix"} == set()
    # Of two items, brackets may mean an interval; a longer list may have either kind. Vectors may be written as tuples.
    return (kinds == {"()", "[]"} and len(gold.items) > 2) or kinds in (
        {"column", "()"},
        {"row", "()"},
        {"matrix", "[]"},
        {"row", "[]"},
    )


def _match(left: Sequence[str], right: Sequence[str], same: Same) -> bool:
    remaining = list(right)
    rest = []
    for item in left:
        if item in remaining:
            remaining.remove(item)
        else:
            rest.append(item)
    # Comparing formulas takes time, and each may be compared with each.
    if len(rest) > _MAX_UNORDERED:
        return False
    for item in rest:
        found = next((other for other in remaining if same(item, other)), None)
        if found is None:
            return False
        remaining.remove(found)
    return True


def _names(items: Sequence[str]) -> set[str]:
    found = [_NAME.match(item) for item in items]
    return {match[1] for match in found if match} if all(found) else set()


def _alternatives(items: Sequence[str]) -> bool:
    """Return whether all items are values of one variable, or each of another one: their order does not matter."""
    return len(_names(items)) == 1


def _matrix(body: str) -> Collection:
    rows = [[cell.strip() for cell in row.split("&")] for row in body.split(ROW_END) if row.strip()]
    if all(len(row) == 1 for row in rows):
        return Collection("column", tuple(row[0] for row in rows))
    if len(rows) == 1:
        return Collection("row", tuple(rows[0]))
    return Collection("matrix", tuple("[" + ", ".join(row) + "]" for row in rows))


def _listed(text: str) -> tuple[list[str], bool]:
    """Split a list at its commas and its "and" or "or", and return whether it has one of these words."""
    items: list[str] = []
    joined = False
    for part in _split(text, ",;"):
        pieces = _WORDS.split(part) if part.count("(") == part.count(")") and "(" not in part else [part]
        joined = joined or len(pieces) > 1
        items += [piece.strip() for piece in pieces[::2] if piece.strip()]
    if len(items) == 1 and re.fullmatch(r"-?\d+(?: -?\d+){2,}", text) and not re.fullmatch(r"\d{1,3}(?: \d{3})+", text):
        return text.split(), False
    if len(items) == 1 and (pieces := _outside_brackets(text)):
        return pieces, True
    return items, joined


def _outside_brackets(text: str) -> list[str]:
    """Split ``(1, 2) and (3, 4)`` at the words between brackets."""
    pieces = re.split(r"(?<=[)\]}⦄])\s*,?\s*(?:and|or)\s*(?=[A-Z]?'? ?[(\[{⦃])", text)
    return [piece.strip() for piece in pieces] if len(pieces) > 1 else []


def _split(text: str, separators: str) -> list[str]:
    """Split at separators outside brackets. The comma of 1,234 separates nothing, outside brackets."""
    parts, start, depth = [], 0, 0
    numbers = {m.start() for m in re.finditer(r",(?=\d{3}(?!\d))(?<=\d,)", text)} if "," in text else set()
    thousands = {position for position in numbers if _is_thousands(text, position)}
    for position, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if character in separators and depth == 0 and position not in thousands:
            parts.append(text[start:position].strip())
            start = position + 1
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def _is_thousands(text: str, position: int) -> bool:
    before = re.search(r"(\d+(?:,\d{3})*)$", text[:position])
    return before is not None and len(before[1].split(",")[0]) <= 3
