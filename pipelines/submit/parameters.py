"""Parse the parameters of a run from the command line, as the types that the package declares."""

# "kfp run create" guesses the type of a value from its looks, so that the version 1.10 becomes the number 1.1.

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vicur.cluster.request import FIELD_ALIASES
from vicur.config.loading import read_overrides
from vicur.config.run import RunConfig
from vicur.config.schema import choices
from vicur.config.yaml_values import read_yaml
from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.wording import did_you_mean

Declared = Mapping[str, Mapping[str, Any]]
# The parameter of a form that takes any other setting by its dotted name.
_OVERRIDES = "overrides"
_SECTIONS = RunConfig.model_fields.keys()
# Settings outside the form that are given as a whole: one is not a section, the other is replaced as one.
_WHOLE = ("checkpoints", "data")


def run_parameters(assignments: Sequence[str], declared: Declared) -> dict[str, Any]:
    """Return all parameters of a run: the package's defaults, changed by ``assignments``.

    The server knows the defaults, but its page of a run and its comparison of runs show only what they are sent.

    Raises:
        VicurError: if a parameter is unknown, has the wrong type, or is required and missing.
    """
    values = assigned_parameters(assignments, declared)
    defaults = {name: _default(each) for name, each in declared.items() if "defaultValue" in each}
    return defaults | values


def assigned_parameters(assignments: Sequence[str], declared: Declared) -> dict[str, Any]:
    """Return the values of the parameters in ``assignments``: ``name=value``, or ``section.field=value`` for one setting.

    If the section is a parameter, its other settings keep the package's default, and ``section={...}`` replaces it as a whole. If the
    package has a parameter ``overrides`` for everything outside its form, the setting is added there.

    Raises:
        VicurError: if a parameter is unknown, has the wrong type, or is required and missing.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, text = _split(assignment, declared)
        head, _, field = name.partition(".")
        outside = head in _SECTIONS - declared.keys() and (field or head in _WHOLE)
        if _OVERRIDES in declared and (head == _OVERRIDES or outside):
            settings = values.setdefault(_OVERRIDES, copy.deepcopy(declared[_OVERRIDES].get("defaultValue") or {}))
            settings |= _settings(name, text, assignment)
            continue
        if head not in declared:
            raise VicurError(
                f"the pipeline has no parameter {head!r}.",
                where=f"--param {assignment}",
                remedy=f"{did_you_mean(head, declared)} It has: {', '.join(sorted(declared)) or 'none'}.".lstrip(),
            )
        kind = declared[head]["parameterType"]
        if not field:
            values[head] = _read(_section(head, text) if kind == "STRUCT" else text, kind, assignment)
            continue
        if kind != "STRUCT":
            raise VicurError(
                f"{head} is a single value and has no settings.",
                where=f"--param {assignment}",
                remedy=f"Write {head}=value.",
            )
        section = values.get(head, copy.deepcopy(declared[head].get("defaultValue") or {}))
        values[head] = read_overrides([f"{field}={text}"], section, "--param")
    _require_all(values, declared)
    return values


def _default(declaration: Mapping[str, Any]) -> Any:
    value = copy.deepcopy(declaration["defaultValue"])
    # In packages, whole numbers are floats.
    return int(value) if declaration["parameterType"] == "NUMBER_INTEGER" else value


def _split(assignment: str, declared: Declared) -> tuple[str, str]:
    name, separator, text = assignment.partition("=")
    if redacted(text) != text:
        raise VicurError(
            "contains what looks like a password or a token, but the parameters of a run are stored and shown.",
            where=f"--param {redacted(assignment)}",
            remedy="Leave it out: steps read secrets by name (section cluster.secrets).",
        )
    name = name.strip()
    if not separator or not name:
        raise VicurError(
            "is not a parameter.", where=f"--param {assignment}", remedy="Write name=value, such as seed=1."
        )
    return _name_in(declared, name), text


def _name_in(declared: Declared, name: str) -> str:
    """Return the name that a package has for a field, whether it is older or newer than this release."""
    head, *rest = name.split(".", 1)
    if head not in declared:
        names = next(({field, *others} for field, others in FIELD_ALIASES.items() if head in (field, *others)), set())
        head = next((each for each in sorted(names) if each in declared), head)
    return ".".join([head, *rest])


def _settings(name: str, text: str, assignment: str) -> dict[str, Any]:
    """Return settings by dotted name: a single one, or all of those in ``overrides={...}``."""
    if name == _OVERRIDES:
        return dict(_read(text, "STRUCT", assignment))
    return {name.removeprefix(f"{_OVERRIDES}."): _read(text, "ANY", assignment)}


def _section(name: str, text: str) -> str:
    """Expand the bare name of a section, such as ``digit_scenes`` for ``data``, to ``{type: digit_scenes}``."""
    field = RunConfig.model_fields.get(name)
    is_name = field is not None and text.strip() in choices(field.annotation)
    return f"{{type: {text.strip()}}}" if is_name else text


def _require_all(values: Mapping[str, Any], declared: Declared) -> None:
    missing = [
        name
        for name, each in sorted(declared.items())
        if name not in values and "defaultValue" not in each and not each.get("isOptional")
    ]
    if missing:
        raise VicurError(
            f"the pipeline requires {', '.join(missing)}, which {'has' if len(missing) == 1 else 'have'} no default.",
            remedy=f"Give --param {missing[0]}=...",
        )


def _read(text: str, kind: str, assignment: str) -> Any:
    reader, description = _READERS.get(kind, (json.loads, "JSON"))
    try:
        value = reader(text)
        # Dates are sent as text. NaN and infinity do not exist in JSON.
        json.dumps(value, allow_nan=False, default=str)
        return value
    # For malformed values, PyYAML raises whatever int(), datetime() and its own look-ups raise.
    except Exception as error:
        raise VicurError(
            f"{text!r} is not {description}, but the parameter is.",
            where=f"--param {assignment}",
            remedy=f"Give {description}.",
        ) from error


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _of(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = read_yaml(text)
        if not isinstance(value, kind):
            raise ValueError(text)
        return value

    return read


_READERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "STRING": (str, "text"),
    "NUMBER_INTEGER": (int, "a whole number"),
    "NUMBER_DOUBLE": (float, "a number"),
    "BOOLEAN": (_boolean, "true or false"),
    "LIST": (_of(list), "a list such as [a, b]"),
    "ANY": (read_yaml, "YAML"),
    "STRUCT": (_of(dict), "a mapping such as {name: value}"),
}
