"""Read configurations: YAML files, and settings such as ``training.steps=50`` from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from vicur.config.data import PROMPT_SETTINGS
from vicur.config.run import RunConfig
from vicur.config.section import Section
from vicur.config.sources import Sources
from vicur.config.validation import validated
from vicur.config.yaml_values import SettingsLoader
from vicur.errors import VicurError
from vicur.redaction import redacted_value

S = TypeVar("S", bound=Section)
_FORM = "Write section.field=value, as in training.steps=50."


def load_config(
    path: Path | None, overrides: Sequence[str] = (), options: Mapping[str, tuple[str, Any]] | None = None
) -> RunConfig:
    """Read a run's configuration, as :func:`load_settings` does."""
    return load_settings(RunConfig, path, overrides, options)


def load_settings(
    kind: type[S],
    path: Path | None,
    overrides: Sequence[str] = (),
    options: Mapping[str, tuple[str, Any]] | None = None,
) -> S:
    """Read a configuration from a YAML file, or start from the defaults if ``path`` is ``None``.

    Args:
        overrides: settings like ``training.steps=50``, with values in YAML. They override the file.
        options: settings given by options other than ``--set``: ``{"methods": ("--method", ["vicur"])}``. They override everything else.

    Raises:
        VicurError: if the file cannot be read, or a setting is unknown or wrong.
    """
    values, document = _read(path) if path is not None else ({}, None)
    _require_kind(kind, values, path)
    where = str(path) if path is not None else "--set" if overrides else "the default configuration"
    read_overrides(overrides, values)
    for name, (_, value) in (options or {}).items():
        put(values, name, value, where)
    sources = Sources(
        where,
        options={name: option for name, (option, _) in (options or {}).items()},
        overrides=overridden(overrides, "--set"),
        document=document,
    )
    config: S = validated(kind, values, sources)
    return config


def _require_kind(kind: type[S], values: dict[str, Any], path: Path | None) -> None:
    # Otherwise the error would name each setting of the other kind, with suggestions such as 'seed' for 'seeds'.
    if "arms" in values and "arms" not in kind.model_fields:
        problem, remedy = "an ablation, not of a run", "Use vicur ablate, or in a cluster give --pipeline ablation."
    elif "methods" in values and "methods" not in kind.model_fields and "arms" in kind.model_fields:
        problem, remedy = "a run, not of an ablation", "Use vicur run, or in a cluster leave --pipeline ablation out."
    else:
        return
    raise VicurError(f"this is the configuration of {problem}.", where=str(path), remedy=remedy)


def load_overrides(kind: type[S], overrides: Sequence[str], option: str, values: dict[str, Any] | None = None) -> S:
    """Read a section from settings that were given with ``option``, on top of ``values``.

    Raises:
        VicurError: if a setting is unknown or wrong.
    """
    given = read_overrides(overrides, values, option)
    config: S = validated(kind, given, Sources(option, overrides=overridden(overrides, option)))
    return config


def read_overrides(
    overrides: Sequence[str], values: dict[str, Any] | None = None, option: str = "--set"
) -> dict[str, Any]:
    """Add settings like ``training.steps=50``, which were given with ``option``, to ``values`` and return it.

    Raises:
        VicurError: if an override does not have that form.
    """
    values = {} if values is None else values
    settings = [(*_split(each, option), _shown(each, option)) for each in overrides]
    for name, value, where in sorted(settings, key=lambda setting: turn(setting[0])):
        put(values, name, value, where)
    return values


def turn(name: str) -> tuple[int, bool]:
    """Return a sort key that makes the result of several overrides independent of their order."""
    # A section comes before the settings in it. Its type comes first, because a new type removes the settings of the old one.
    *sections, field = name.split(".")
    return len(sections), field != "type"


def put(values: dict[str, Any], name: str, value: Any, where: str) -> None:
    """Set a setting in nested ``values`` by its dotted name.

    Raises:
        VicurError: if the name leads through a value that is not a section.
    """
    if name == "data" and isinstance(value, str):
        # `data=folder` is `data.type=folder`.
        name = "data.type"
    *sections, field = name.split(".")
    for depth, section in enumerate(sections):
        inner = values.get(section)
        if isinstance(inner, str):
            # `objective: jsd` followed by `objective.beta=0.3`.
            inner = {"type": inner}
        elif inner is None:
            inner = {}
        if not isinstance(inner, dict):
            outer = ".".join(sections[: depth + 1])
            raise VicurError(f"{outer} is a single value and has no setting {name!r}.", where=where, remedy=_FORM)
        values[section] = inner
        values = inner
    # Settings of the old type would be unknown to the new one, except for those that all types have.
    if field == "type" and values.get("type", value) != value:
        shared = {each: values[each] for each in PROMPT_SETTINGS if sections == ["data"] and each in values}
        values.clear()
        values.update(shared)
    values[field] = value


def _read(path: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    """Return the settings in a file and the YAML nodes that know their lines."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise VicurError(
            f"the file cannot be read: {error.strerror}.",
            where=str(path),
            remedy="Name a YAML file, such as configs/local.yaml.",
        ) from error
    except UnicodeDecodeError as error:
        raise VicurError("the file is not UTF-8 text.", where=str(path), remedy="Save it as UTF-8.") from error
    node, values = _parse(text, str(path), lines=True)
    if values is None:
        return {}, node
    if not isinstance(values, dict):
        raise VicurError(
            "the file has no settings.", where=str(path), remedy="Write 'name: value' lines, as in configs/local.yaml."
        )
    return values, node


def _parse(text: str, where: str, *, lines: bool) -> tuple[yaml.Node | None, Any]:
    try:
        # read_yaml() does the same, but drops the nodes.
        loader = SettingsLoader(text)
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    # For malformed values, PyYAML raises whatever int(), datetime() and its own look-ups raise.
    except Exception as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if lines and mark is not None else ""
        cause = str(error) or type(error).__name__
        # Errors of the parser and of the reader have different attributes.
        reason = (
            getattr(error, "problem", None)
            or getattr(error, "reason", None)
            or f"it has a value that cannot be read ({cause})"
        )
        raise VicurError(
            f"this is not YAML: {reason}.", where=f"{where}{line}", remedy="Correct or quote it."
        ) from error


def _split(override: str, option: str) -> tuple[str, Any]:
    name, separator, text = override.partition("=")
    if not separator or not all(name.strip().split(".")):
        problem = "the name of the setting is incomplete." if separator else "the setting has no value."
        remedy = _FORM if option == "--set" else f"Write {option} NAME=VALUE."
        raise VicurError(problem, where=_shown(override, option), remedy=remedy)
    return name.strip(), _parse(text, _shown(override, option), lines=False)[1]


def overridden(overrides: Sequence[str], option: str) -> dict[str, str]:
    """Return the option that gave each overridden setting: ``{"training.steps": "--set training.steps=50"}``."""
    return {each.partition("=")[0].strip(): _shown(each, option) for each in overrides}


def _shown(override: str, option: str) -> str:
    name, separator, text = override.partition("=")
    return f"{option} {name}{separator}{redacted_value(name, text)}"
