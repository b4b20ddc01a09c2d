"""Validate configurations, and turn pydantic's errors into one message for their author."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from vicur.config.problems import Problem, problem_of
from vicur.config.schema import with_types
from vicur.config.sources import Sources
from vicur.errors import VicurError

_SHOWN = 5


def validated(kind: Any, values: Any, where: str | Sources) -> Any:
    """Validate ``values`` as a section, a union of sections or another type.

    Args:
        where: the file or option that the values come from, or the source of each setting.

    Raises:
        VicurError: if a setting is unknown, missing or wrong.
    """
    sources = where if isinstance(where, Sources) else Sources(where)
    try:
        return TypeAdapter(kind).validate_python(with_types(kind, values))
    except ValidationError as error:
        raise invalid(error, sources, kind, values) from error
    except VicurError as error:
        # Raised by a check of settings that contradict each other, which does not know where they were given.
        subject = (error.where or error.problem).split()[0].rstrip(",:").split(".")
        place = sources.place(subject) if sources.is_read else None
        if place is None:
            raise
        where = ", ".join(filter(None, (place, error.where)))
        raise VicurError(error.problem, where=where, remedy=error.remedy, exit_code=error.exit_code) from error


def invalid(error: ValidationError, sources: Sources, kind: Any, values: Any = None) -> VicurError:
    """Return the error to raise for ``values`` that are not a ``kind``."""
    errors = error.errors(include_url=False)
    # pydantic drops invalid items and then reports a list that is too short.
    inner = {each["loc"][:-1] for each in errors}
    errors = [each for each in errors if each["type"] != "too_short" or each["loc"] not in inner]
    # Every member of a union such as `int | Literal["auto"]` reports an error. All describe the setting in the same words.
    problems = list(dict.fromkeys(problem_of(each, kind, values, sources) for each in errors))
    if len(problems) == 1:
        (only,) = problems
        fallback = "Correct the setting." if only.place else "Correct the option."
        return VicurError(only.sentence, where=only.place or None, remedy=only.hint or only.remedy or fallback)
    lines = [_line(each, sources.where, first=not place) for place, each in enumerate(problems[:_SHOWN])]
    if len(problems) > _SHOWN:
        lines.append(f"{len(problems) - _SHOWN} more settings are wrong.")
    return VicurError(" ".join(lines), where=sources.where or None, remedy="Correct these settings.")


def _line(problem: Problem, where: str, *, first: bool) -> str:
    sentence = problem.sentence
    if not first and sentence.startswith(("there ", "each ")):
        sentence = sentence[0].upper() + sentence[1:]
    place = (problem.place or where).removeprefix(f"{where}, ")
    if place != where:
        sentence = f"{sentence.removesuffix('.')} ({place})."
    return f"{sentence} {problem.hint}".rstrip()
