"""Strict parsing of the JSON of one row: no NaN, no repeated keys, limited depth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vicur.data.schema import Fault, UnusableRowError

_REMEDY = "Write one JSON object in UTF-8."
_KINDS = {
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
_DEEPEST = 100  # levels of nesting; deeper values could not be written again


def parsed_object(text: bytes, field: str = "") -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        UnusableRowError: if it is not valid JSON, or another value.
    """
    # utf-8-sig also accepts a byte order mark, which editors on Windows write.
    try:
        value = json.loads(text.decode("utf-8-sig"), parse_constant=_no_constant, object_pairs_hook=_each_key_once)
        if _is_deeper(value, _DEEPEST):
            raise RecursionError
    except (ValueError, RecursionError) as error:
        raise UnusableRowError(field, _reason(error, text), _REMEDY) from error
    if not isinstance(value, dict):
        raise not_an_object(value, field)
    return value


def not_an_object(value: Any, field: str = "") -> UnusableRowError:
    """Return the error about a JSON value that is not an object."""
    return UnusableRowError(field, f"is {_KINDS[type(value)]}, not a JSON object", "Write one JSON object.")


def object_or_fault(text: bytes) -> dict[str, Any] | Fault:
    """Parse a row, or return the reason why it is unreadable."""
    try:
        return parsed_object(text)
    except UnusableRowError as error:
        return error.fault


def _reason(error: Exception, text: bytes) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        byte = text[error.start]
        return f"is not JSON in UTF-8 (byte 0x{byte:02x} in column {error.start + 1}; the file may be in Latin-1 or UTF-16)"
    return f"is not JSON ({error})"


def _is_deeper(value: Any, levels: int) -> bool:
    # Level by level and not recursively, because the parser's own limit depends on the release of Python.
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for each in layer
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        # json would silently keep the last value of a repeated key.
        raise ValueError(f"the key {repeated_key(pairs)!r} occurs twice")
    return fields


def repeated_key(pairs: Sequence[tuple[str, Any]]) -> str:
    """Return the first key that occurs a second time. There must be one."""
    seen: set[str] = set()
    return next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
