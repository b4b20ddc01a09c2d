"""Describe in words what a setting allows, for error messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from vicur.config.schema import LISTS, bare, choices, is_section, is_union, members


@dataclass(frozen=True)
class Form:
    """Metadata of a text with a pattern: what the pattern means, in words that can follow "must be"."""

    words: str


def allowed(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return what a type and its bounds allow, in words that can follow "must be": ``a whole number from 1 to 16``."""
    annotation, attached = bare(annotation, metadata)
    # A regular expression does not help users.
    for each in attached:
        if isinstance(each, Form):
            return each.words
    if values := options(annotation):
        return one_of(values) + (", or settings with such a type" if choices(annotation) else "")
    if is_union(annotation):
        return " or ".join(dict.fromkeys(allowed(each, metadata) for each in members(annotation)))
    if annotation in (int, float):
        return f"a {'whole ' if annotation is int else ''}number{_range(attached)}"
    if annotation is str:
        return f"text{_length(attached)}"
    if get_origin(annotation) in LISTS:
        items = get_args(annotation)
        return f"a list of {len(items)} items" if len(items) > 1 and Ellipsis not in items else "a list, such as [a, b]"
    if get_origin(annotation) is dict or is_section(annotation):
        return "a group of settings, such as {name: value}"
    plain = {bool: "true or false", Path: "a path", type(None): "null"}
    return plain.get(annotation, f"of type {getattr(annotation, '__name__', annotation)}")


def options(annotation: Any) -> tuple[Any, ...]:
    """Return the values that a type lists (``Literal``, an enumeration, or the ``type`` of a union of sections); empty if it lists none."""
    annotation, _ = bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return tuple(str(each) for each in annotation)
    return get_args(annotation) if get_origin(annotation) is Literal else tuple(choices(annotation))


def one_of(values: Iterable[Any]) -> str:
    """Return ``one of 'a', 'b', 'c'``, or a single value alone."""
    shown = [repr(value) for value in values]
    return shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"


def _bound(metadata: Sequence[Any], name: str) -> Any:
    return next((getattr(each, name) for each in metadata if getattr(each, name, None) is not None), None)


def _range(metadata: Sequence[Any]) -> str:
    least, above, most, below = (_bound(metadata, name) for name in ("ge", "gt", "le", "lt"))
    if least is not None and most is not None:
        return f" from {least} to {most}"
    low = f"of at least {least}" if least is not None else f"above {above}" if above is not None else ""
    high = (
        f"{'' if low else 'of '}at most {most}" if most is not None else f"below {below}" if below is not None else ""
    )
    both = " and ".join(filter(None, (low, high)))
    return f" {both}" if both else ""


def _length(metadata: Sequence[Any]) -> str:
    least, most = _bound(metadata, "min_length"), _bound(metadata, "max_length")
    high = f" of at most {most} characters" if most is not None else ""
    return f"{high} that is not empty" if least == 1 else f" of at least {least} characters" if least else high
