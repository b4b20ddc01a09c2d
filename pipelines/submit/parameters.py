"""Parameters of a run from the command line, read as the types that the package declares.

``kfp run create`` guesses the type of a value from its looks (a version ``1.10`` becomes the number 1.1); here the package decides.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from vicur.config.loading import read_overrides
from vicur.config.run import RunConfig
from vicur.errors import VicurError
from vicur.redaction import redacted

Declared = Mapping[str, Mapping[str, Any]]
_OVERRIDES = "overrides"
"""The parameter of a form that takes any other setting by its dotted name."""
_SECTIONS = RunConfig.model_fields.keys()
_WHOLE = ("checkpoints", "data")
"""Of the settings that are not in the form, those that are given whole: one is no section, the other is replaced as one."""


def run_parameters(assignments: Sequence[str], declared: Declared) -> dict[str, Any]:
    """The parameters of a run.

    Args:
        assignments: each ``name=value``, or ``section.field=value`` for one setting. Where the section is a parameter, its other settings
            keep the package's default (a whole section that is given replaces that); where the package has a parameter ``overrides``
            for all that is not in its form, the setting goes there.
        declared: the package's parameters by name.

    Returns:
        Values by name, of those parameters alone that were given.

    Raises:
        VicurError: naming each parameter that is unknown, of the wrong type, or needed and not given.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if redacted(text) != text:
            raise VicurError(
                "holds what looks like a password or a token, and a run's parameters are kept and shown.",
                where=f"--param {redacted(assignment)}",
                remedy="Leave it out: secrets reach steps by name (section cluster.secrets).",
            )
        head, _, field = name.strip().partition(".")
        if not separator or not head:
            raise VicurError(
                "is no parameter.", where=f"--param {assignment}", remedy="Write name=value, as in seed=1."
            )
        beside = head in _SECTIONS - declared.keys() and (field or head in _WHOLE)
        if _OVERRIDES in declared and (head == _OVERRIDES or beside):
            settings = values.setdefault(_OVERRIDES, copy.deepcopy(declared[_OVERRIDES].get("defaultValue") or {}))
            settings |= _settings(name.strip(), text, assignment)
            continue
        if head not in declared:
            raise _unknown(head, assignment, declared)
        kind = declared[head]["parameterType"]
        if not field:
            values[head] = _read(text, kind, assignment)
            continue
        if kind != "STRUCT":
            raise VicurError(
                f"{head} holds no settings of its own.", where=f"--param {assignment}", remedy=f"Write {head}=value."
            )
        section = values.get(head, copy.deepcopy(declared[head].get("defaultValue") or {}))
        values[head] = read_overrides([f"{field}={text}"], section, "--param")
    _refuse_missing(values, declared)
    return values


def _settings(name: str, text: str, assignment: str) -> dict[str, Any]:
    """Settings by their dotted names: one (``training.steps``, ``overrides.training.steps``), or all that ``overrides`` itself is given."""
    if name == _OVERRIDES:
        return dict(_read(text, "STRUCT", assignment))
    return {name.removeprefix(f"{_OVERRIDES}."): _read(text, "ANY", assignment)}


def _unknown(name: str, assignment: str, declared: Declared) -> VicurError:
    near = difflib.get_close_matches(name, declared, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return VicurError(
        f"the pipeline has no parameter {name!r}.",
        where=f"--param {assignment}",
        remedy=f"{hint}It has: {', '.join(sorted(declared)) or 'none'}.",
    )


def _refuse_missing(values: Mapping[str, Any], declared: Declared) -> None:
    missing = [
        name
        for name, each in sorted(declared.items())
        if name not in values and "defaultValue" not in each and not each.get("isOptional")
    ]
    if missing:
        raise VicurError(
            f"the pipeline needs {', '.join(missing)}, which {'has' if len(missing) == 1 else 'have'} no default.",
            remedy=f"Give --param {missing[0]}=...",
        )


def _read(text: str, kind: str, assignment: str) -> Any:
    reader, words = _READERS.get(kind, (json.loads, "JSON"))
    try:
        value = reader(text)
        # Dates are sent as text; NaN and infinity are no JSON.
        json.dumps(value, allow_nan=False, default=str)
        return value
    except (ValueError, yaml.YAMLError) as error:
        raise VicurError(
            f"{text!r} is not {words}, which this parameter is.",
            where=f"--param {assignment}",
            remedy=f"Give {words}.",
        ) from error


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _of(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = yaml.safe_load(text)
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
    "ANY": (yaml.safe_load, "YAML"),
    "STRUCT": (_of(dict), "a mapping such as {name: value}"),
}
