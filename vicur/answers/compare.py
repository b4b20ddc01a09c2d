"""Compare two short answers, both in plain notation (:mod:`vicur.answers.notation`).

The first reading that both texts have decides: times and other marks, yes or no, quantities, collections, equations, words, formulas.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial

from vicur.answers.formulas import same_formula
from vicur.answers.items import Interval, collection, enclosed, interval, same_collection, without_thousands
from vicur.answers.marks import mark, same_mark
from vicur.answers.quantities import quantity, split_unit
from vicur.answers.units import Unit
from vicur.answers.words import is_prose, same_words

_MAX_LENGTH = 500
_MAX_DEPTH = 4
_TRUTHS = {"yes": True, "true": True, "no": False, "false": False}
_TRUTH = re.compile(
    r"(yes|no|true|false)(?: ?[,.;:!-] ?.*| (?:it|they|there|he|she|the|this|that|we|i|these|those)\b.*)?",
    re.IGNORECASE | re.DOTALL,
)
_ANY_TRUTH = re.compile(r"\b(yes|no|true|false)\b", re.IGNORECASE)
_NAME = re.compile(
    r"(?:m ?(?=∠)|angle |point |side |segment )?[∠△]? ?(?:[A-Za-zα-ωΔ][A-Za-z]{0,3}|(?<=∠)\d{1,2}|(?<=∠ )\d{1,2})"
    r"'?(?:_\{?\w{1,3}\}?)?(?: ?\([a-z]\))?"
)
_DEGREES, _RADIANS = (("angle", 1),), (("radian", 1),)
_LIST = re.compile(r",|\bor\b|\band\b")
_EMPTY = frozenset(
    {
        "∅",
        "{}",
        "⦃⦄",
        "no solution",
        "no solutions",
        "no real solution",
        "no real solutions",
        "empty set",
        "the empty set",
    }
)


@lru_cache(maxsize=65536)
def same_value(gold: str, stated: str, depth: int = 0) -> bool:
    """Return whether two answers in plain notation are the same."""
    if gold == stated:
        return bool(gold)
    if depth > _MAX_DEPTH or max(len(gold), len(stated)) > _MAX_LENGTH:
        return same_words(gold, stated)
    if gold.casefold() in _EMPTY and stated.casefold() in _EMPTY:
        return True
    same = partial(same_value, depth=depth + 1)
    left_mark, right_mark = mark(gold), mark(stated)
    if left_mark is not None:
        return same_mark(left_mark, right_mark, stated)
    if right_mark is not None:
        return same_mark(right_mark, None, gold)
    left_truth, right_truth = _truth(gold), _truth(stated)
    if left_truth is not None and right_truth is not None:
        return left_truth == right_truth
    left, right = quantity(gold), quantity(stated)
    if left is not None and right is not None:
        return left.agrees(right)
    for reading in (_same_intervals, _same_collections, _same_equations):
        found = reading(gold, stated, depth)
        if found is not None:
            return found
    if enclosed(gold) != enclosed(stated) and not is_prose(gold):
        # (x + 1) and {5} have one item.
        return same(*(side[1:-1].strip() if enclosed(side) else side for side in (gold, stated)))
    return same_words(gold, stated) or _same_formulas(gold, stated)


def _truth(text: str) -> bool | None:
    match = _TRUTH.fullmatch(text)
    if match is None:
        return None
    truth = _TRUTHS[match[1].casefold()]
    return truth if all(_TRUTHS[word.casefold()] == truth for word in _ANY_TRUTH.findall(text)) else None


def _same_intervals(gold: str, stated: str, depth: int) -> bool | None:
    if not (set(gold + stated) & set("<>≤≥∞") or _half_open(gold) or _half_open(stated)):
        return None
    sides = [interval(re.sub(r"^[a-z] ?∈ ?", "", side)) for side in (gold, stated)]
    left, right = sides
    if not (isinstance(left, Interval) and isinstance(right, Interval)):
        return None
    ends = ((left.low, right.low), (left.high, right.high))
    return left.includes == right.includes and all(same_value(a, b, depth + 1) for a, b in ends)


def _half_open(text: str) -> bool:
    return enclosed(text) and (text[0], text[-1]) in (("(", "]"), ("[", ")"))


def _same_collections(gold: str, stated: str, depth: int) -> bool | None:
    left, right = collection(_value(gold)), collection(_value(stated))
    if left is None and right is None:
        return None
    if _named_apart(gold, stated):
        return False
    left, right = left or without_thousands(gold), right or without_thousands(stated)
    if left is None or right is None:
        return same_words(gold, stated) if is_prose(gold) and is_prose(stated) else False
    return same_collection(left, right, partial(same_value, depth=depth + 1))


def _value(text: str) -> str:
    """Return the value of ``S = {1, 2}`` or ``x = ±3``; a list of equations keeps its names."""
    name, value = _equation(text)
    is_one = enclosed(value) or value.startswith("\\begin") or "±" in value or ("," in value and "=" not in value)
    return value if name and is_one and not re.search(r"(?:,|\bor\b|\band\b).*=", value) else text


def _equation(text: str) -> tuple[str, str]:
    """Split ``x = 5`` into name and value. A chain (``x = 2 + 3 = 5``) ends with its value. The name is empty if there is none."""
    if "∈" in text:
        name, _, value = text.partition("∈")
        return name.strip(), value.strip()
    parts = [part.strip() for part in text.split("=")]
    if any(_LIST.search(part) for part in parts[1:-1]):
        return "", text
    if len(parts) < 2 or not all(parts):
        return "", text
    if _NAME.fullmatch(parts[0]):
        return parts[0], parts[-1]
    if len(parts) == 2 and _NAME.fullmatch(parts[1]) and not re.search("[A-Za-z]", parts[0]):
        return parts[1], parts[0]
    return "", text


def _named_apart(gold: str, stated: str) -> bool:
    left, right = _equation(gold)[0], _equation(stated)[0]
    return bool(left and right) and _key(left) != _key(right)


def _key(name: str) -> str:
    return re.sub(r"[ m]*∠|angle |point |side |segment |[ {}]", "", name)


def _same_equations(gold: str, stated: str, depth: int) -> bool | None:
    (left, left_value), (right, right_value) = _equation(gold), _equation(stated)
    if not (left or right):
        return None
    if left and right and _key(left) != _key(right):
        return same_formula(gold, stated) if gold.count("=") == stated.count("=") == 1 else False
    if ("=" in left_value) or ("=" in right_value):
        return same_formula(gold, stated) if gold.count("=") == stated.count("=") == 1 else False
    return same_value(left_value, right_value, depth + 1)


def _same_formulas(gold: str, stated: str) -> bool:
    # "3m" may be a product as well as a length.
    if any(found is not None and found.variable for found in (quantity(gold), quantity(stated))):
        return same_formula(gold, stated)
    (left, left_unit), (right, right_unit) = split_unit(gold), split_unit(stated)
    if left_unit.is_none or right_unit.is_none or left_unit == right_unit:
        return same_formula(left, right)
    if {left_unit.dimensions, right_unit.dimensions} == {_DEGREES, _RADIANS}:
        return same_formula(_in_radians(left, left_unit), _in_radians(right, right_unit))
    if left_unit.dimensions != right_unit.dimensions:
        return False
    return same_formula(f"({left})*({left_unit.factor})", f"({right})*({right_unit.factor})")


def _in_radians(formula: str, unit: Unit) -> str:
    return f"({formula})*π/180" if unit.dimensions == _DEGREES else formula
