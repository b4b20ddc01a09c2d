"""Turns what pydantic says of a wrong configuration into what its author can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vicur.errors import VicurError
from vicur.redaction import redacted

_SHOWN = 5


def validated(kind: Any, values: Any, where: str) -> Any:
    """``values`` as a ``kind``.

    Args:
        kind: the section, or union of sections, to validate against.
        values: what was read.
        where: the file or argument that they came from, for the message.

    Raises:
        VicurError: naming each field that is wrong.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise invalid(error, where, values) from error


def invalid(error: ValidationError, where: str, values: Any = None) -> VicurError:
    """The error to raise where ``values`` from ``where`` do not validate."""
    problems = error.errors(include_url=False)
    lines = [_sentence(problem, values) for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"and {len(problems) - _SHOWN} more")
    remedy = "Correct the setting." if len(problems) == 1 else "Correct these settings."
    return VicurError("; ".join(lines) + ".", where=where, remedy=remedy)


def _sentence(problem: Any, values: Any) -> str:
    field = _setting(problem["loc"], values)
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"there is no setting {field!r}"
    if problem["type"] == "missing":
        return f"{field} is missing"
    if problem["type"] == "union_tag_not_found":
        return f"{field} needs its setting {problem['ctx']['discriminator']}, which says what its other settings are"
    if problem["type"] == "tuple_type":
        return f"{field} wants a list, as in [a, b] (given: {problem['input']!r})"
    given = problem["input"]
    shown = f" (given: {redacted(repr(given))})" if isinstance(given, str | int | float | bool) else ""
    return f"{field or 'the configuration'}: {message[:1].lower()}{message[1:]}{shown}"


def _setting(location: Sequence[str | int], values: Any) -> str:
    """The dotted name of a setting, as it is written. pydantic puts the kind of a section that has several between it and its fields."""
    parts, here = [], values
    for part in location:
        if isinstance(here, Mapping) and part not in here and here.get("type") == part:
            continue
        parts.append(str(part))
        try:
            here = here[part]
        except (LookupError, TypeError):
            here = None
    return ".".join(parts)
