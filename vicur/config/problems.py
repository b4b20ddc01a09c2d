"""Describe one of pydantic's errors in a sentence: the setting as it was typed, what it allows, and the value that was given."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicur.config.allowed import allowed, one_of, options
from vicur.config.schema import Setting, choices, is_section, locate, names
from vicur.config.sources import Sources, written
from vicur.redaction import redacted_value
from vicur.wording import did_you_mean, listed

_LONGEST = 80
# Error types for which "must be <what the type allows>" would leave out what is wrong.
_SENTENCES = {
    "finite_number": "{name} must be a finite number, not {given}.",
    "too_short": "{name} must have {min_length} or more items, not {actual_length}.",
    "too_long": "{name} must have {max_length} or fewer items, not {actual_length}.",
}
# A validator's message that starts with one of these continues the name of the setting: "training.steps" + "must be even".
_CONTINUES = re.compile(r"(is|are|has|have|must|needs|requires|names|contains|lists|takes|does|cannot|holds)\b")


@dataclass(frozen=True)
class Problem:
    """An error in one setting. ``place`` is ``None`` if the sentence itself names the file or option."""

    sentence: str
    # A second sentence, such as "Did you mean 'x'?".
    hint: str = ""
    place: str | None = None
    # What to do if this is the only problem and has no hint.
    remedy: str = ""


def problem_of(error: Any, kind: Any, values: Any, sources: Sources) -> Problem:
    """Describe an item of ``ValidationError.errors()`` that was raised for ``values`` as a ``kind``."""
    setting = locate(kind, error["loc"])
    name, place = _name(setting, sources), sources.place(setting.parts)
    match error["type"]:
        case "extra_forbidden":
            hint, remedy = _instead(setting, kind, sources)
            return Problem(f"there is no setting {sources.name(setting.parts)!r}.", hint, place, remedy)
        case "invalid_key":
            section = sources.name(setting.parts[:-1]) or "the configuration"
            return Problem(
                f"every name in {section} must be text, not {error['loc'][-1]}.", "", place, "Quote the name."
            )
        case "missing":
            owner = sources.name(setting.parts[:-1])
            needed = f", which {owner}.type {setting.choice!r} requires" if setting.choice else ""
            return Problem(
                f"{sources.name(setting.parts)} is missing{needed}.", f"It must be {_allowed(setting)}.", place
            )
        case "union_tag_not_found":
            name = ".".join(filter(None, (name, "type")))
            return Problem(f"{name} is missing.", f"It must be {one_of(_with_all(setting, error['input']))}.", place)
        case "union_tag_invalid":
            given = error["input"]
            tag = given.get("type") if isinstance(given, Mapping) else error["ctx"]["tag"]
            # A bare name has been expanded to {type: name} by now. The message is about what the user wrote.
            if not isinstance(_at(values, setting.parts), str):
                name = ".".join(filter(None, (name, "type")))
            # The whole value is a bare name, and the place is its only name.
            name, place = (name, place) if name else (sources.where, None)
            return _wrong(name, one_of(options(setting.annotation)), tag, setting, place)
        case "value_error" | "assertion_error" if str(error.get("ctx", {}).get("error", "")).strip():
            return Problem(_own_words(str(error["ctx"]["error"]), name, error["input"]), place=place)
    if not name:
        # The whole value is wrong, and the place is its only name.
        name, place = sources.where, None
    # pydantic's own message is never used. The words come from the type and bounds of the setting, so that error types that a
    # new version of pydantic adds are described in the same way.
    if template := _SENTENCES.get(error["type"]):
        values = {**error.get("ctx", {}), "name": name, "given": shown(name, error["input"])}
        return Problem(template.format_map(values), place=place)
    return _wrong(name, _allowed(setting), error["input"], setting, place)


def shown(name: str, value: Any) -> str:
    """Write a value as in YAML, without secrets and shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "a group of settings"
    if isinstance(value, list | tuple | set | frozenset):
        return "a list" if value else "an empty list"
    try:
        text = redacted_value(name, value)
    except ValueError:
        # Python refuses to write out integers of several thousand digits.
        return "a number that is too large"
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return text if isinstance(value, int | float) else repr(text)


def _name(setting: Setting, sources: Sources) -> str:
    name = sources.name(setting.parts)
    if setting.key:
        return f"each name in {name}"
    plain = not is_section(setting.annotation) and not choices(setting.annotation)
    # An item of a list that an option gives is called by the option: "--method".
    if plain and setting.parts and isinstance(setting.parts[-1], int) and sources.place(setting.parts) is not None:
        return f"each item of {sources.name(setting.parts[:-1])}"
    return name


def _allowed(setting: Setting) -> str:
    return allowed(setting.annotation, setting.metadata)


def _wrong(name: str, words: str, given: Any, setting: Setting, place: str | None) -> Problem:
    hint = did_you_mean(given, map(str, options(setting.annotation))).strip() if isinstance(given, str) else ""
    return Problem(f"{name} must be {words}, not {shown(name, given)}.", hint, place)


def _own_words(message: str, name: str, given: Any) -> str:
    """Turn the message of a section's validator into a sentence about the setting."""
    text = message.strip()
    if name:
        text = f"{name} {text}" if _CONTINUES.match(text) else f"{name}: {text}"
    text, end = (text, "") if text.endswith("?") else (text.rstrip("."), ".")
    value = shown(name, given)
    if isinstance(given, str | int | float) and value not in text and end:
        text = f"{text}, not {value}" if text.startswith(f"{name} must be ") else f"{text} (given: {value})"
    return f"{text}{end}"


def _with_all(setting: Setting, given: Any) -> list[str]:
    """Return the types of a union that have all settings that were given, or every type if none has."""
    tags = choices(setting.annotation)
    keys = set(given) if isinstance(given, Mapping) else set()
    return [tag for tag, each in tags.items() if keys <= each.model_fields.keys()] or list(tags)


def _instead(setting: Setting, kind: Any, sources: Sources) -> tuple[str, str]:
    """Return a hint at the setting that was probably meant, or else a remedy that lists the settings."""
    *outer, last = setting.parts
    section, key = sources.name(outer), str(last)
    siblings = list(setting.container.model_fields) if is_section(setting.container) else []
    known = list(names(kind))
    by_key: dict[str, list[str]] = {}
    for name, _ in known:
        by_key.setdefault(name.rpartition(".")[2], []).append(sources.name((name,)))
    dotted = written(setting.parts)
    # The setting exists, but for another type of the section.
    if other_types := [tag for name, tag in known if name == dotted and tag]:
        return f"It belongs to {section}.type {' or '.join(map(repr, other_types))}.", ""
    # YAML keys are not dotted names, although overrides are.
    if any(name == key for name, _ in known):
        first, _, rest = key.partition(".")
        return f"Write {first}: {{{rest}: ...}} instead.", ""
    # A setting of exactly this name in another section is a better guess than a slightly similar name in this one.
    for cutoff, candidates in ((0.8, siblings), (1.0, by_key), (0.6, siblings), (0.8, by_key)):
        if close := difflib.get_close_matches(key, candidates, n=1, cutoff=cutoff):
            if candidates is siblings:
                return f"Did you mean {'.'.join(filter(None, (section, close[0])))!r}?", ""
            places = dict.fromkeys(by_key[close[0]])
            nearby = [place for place in places if section and place.startswith(f"{section}.")]
            return f"There is {' and '.join(nearby or places)}.", ""
    return "", f"{section or 'The configuration'} has {listed(siblings, 20)}."


def _at(values: Any, parts: tuple[str | int, ...]) -> Any:
    for part in parts:
        try:
            values = values[part]
        except (LookupError, TypeError):
            return None
    return values
