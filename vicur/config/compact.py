"""Serialize settings without those that have their default."""

# Kubeflow Pipelines keeps a step's parameters in six copies in the status of a workflow, which may not exceed 1 MiB. The code version of
# a step fixes the defaults, so leaving them out loses nothing.

from __future__ import annotations

from typing import Any

from vicur.config.prompted import HANDED_TO, PromptedConfig, as_written
from vicur.config.section import Section
from vicur.errors import VicurError

# They decide what the other settings mean, and a reader of the values needs them.
_ALWAYS = ("type", "method")


def compact(section: Section) -> dict[str, Any]:
    """Return the settings of ``section`` that differ from their defaults, as JSON values.

    Raises:
        VicurError: if a setting is ``null`` although its default is not.
    """
    # KFP cannot pass null.
    values = changed(section)
    if _validated(section, values) != section:
        raise VicurError(
            "a setting is null although its default is not, and Kubeflow Pipelines cannot pass null.",
            where=type(section).__name__,
            remedy="Leave the setting out, or give it a value.",
        )
    return values


def _validated(section: Section, values: dict[str, Any]) -> Section | None:
    try:
        return type(section).model_validate(values)
    except (ValueError, VicurError):  # an empty text where a null was
        return None


def changed(section: Section) -> dict[str, Any]:
    """Return the settings that differ from their defaults, as JSON values without ``null``."""
    changed = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(section, PromptedConfig) and name in HANDED_TO:
            value = as_written(value)
        is_default = value == field.get_default(call_default_factory=True)
        if value is not None and (name in _ALWAYS or not is_default):
            changed[name] = _json(value)
    return changed


def _json(value: Any) -> Any:
    if isinstance(value, Section):
        return changed(value)
    if isinstance(value, dict):
        # A mapping whose nulls have a meaning, such as data.splits, reads an empty text as null.
        return {key: "" if each is None else _json(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_json(each) for each in value]
    # Paths are the only values of settings that JSON lacks.
    return value if isinstance(value, str | int | float | bool) else str(value)
