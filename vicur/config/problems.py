"""Put one of pydantic's errors into a sentence: the setting as it was typed, what it allows, and the value that was given.

The words come from the setting's own type and bounds, not from pydantic's message. An error type that pydantic adds in another version
therefore still comes out as a sentence of this kind.
"""

from __future__ import annotations

import difflib
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
# A validator's message that begins with one of these continues the setting's name; any other is a sentence by itself.
_PREDICATES = (
    "is",
    "are",
    "has",
    "have",
    "must",
    "needs",
    "requires",
    "names",
    "contains",
    "lists",
    "takes",
    "does",
    "cannot",
    "holds",
)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one setting.

    Attributes:
        sentence: a complete sentence.
        hint: what is probably meant, as another sentence; may be empty.
        place: the file or option that the setting was given in; ``None`` if the sentence names it.
        remedy: what to do if there is no hint and this is the only problem; may be empty.
    """

    sentence: str
    hint: str = ""
    place: str | None = None
    remedy: str = ""


def problem_of(error: Any, kind: Any, values: Any, sources: Sources) -> Problem:
    """Describe one error.

    Args:
        error: an item of ``ValidationError.errors()``.
        kind: the type that was validated.
        values: what was validated.
        sources: where the values were given.
    """
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
            if not isinstance(_at(values, setting.parts), str):
                name = ".".join(filter(None, (name, "type")))
            # The whole value is a bare name, and the place is its only name.
            name, place = (name, place) if name else (sources.where, None)
            return _wrong(name, one_of(options(setting.annotation)), error["ctx"]["tag"], setting, place)
        case "value_error" | "assertion_error" if str(error.get("ctx", {}).get("error", "")).strip():
            return Problem(_own_words(str(error["ctx"]["error"]), name, error["input"]), place=place)
    if not name:
        # The whole value is wrong, and the place is its only name.
        name, place = sources.where, None
    if template := _SENTENCES.get(error["type"]):
        values = {**error.get("ctx", {}), "name": name, "given": shown(name, error["input"])}
        return Problem(template.format_map(values), place=place)
    return _wrong(name, _allowed(setting), error["input"], setting, place)


def shown(name: str, value: Any) -> str:
    """Return a setting's value for a message: as it is written in YAML, without secrets, and not too long."""
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
    """Return what to call a setting in a sentence."""
    name = sources.name(setting.parts)
    if setting.key:
        return f"each name in {name}"
    plain = not is_section(setting.annotation) and not choices(setting.annotation)
    # A setting without a place has an option of its own, which takes one item.
    if plain and setting.parts and isinstance(setting.parts[-1], int) and sources.place(setting.parts) is not None:
        return f"each item of {sources.name(setting.parts[:-1])}"
    return name


def _allowed(setting: Setting) -> str:
    return allowed(setting.annotation, setting.metadata)


def _wrong(name: str, words: str, given: Any, setting: Setting, place: str | None) -> Problem:
    hint = did_you_mean(given, map(str, options(setting.annotation))).strip() if isinstance(given, str) else ""
    return Problem(f"{name} must be {words}, not {shown(name, given)}.", hint, place)


def _own_words(message: str, name: str, given: Any) -> str:
    """Return the message of a section's own validator as a sentence about the setting."""
    text = message.strip()
    if name:
        text = f"{name} {text}" if text.split()[0] in _PREDICATES else f"{name}: {text}"
    text, end = (text, "") if text.endswith("?") else (text.rstrip("."), ".")
    value = shown(name, given)
    if isinstance(given, str | int | float) and value not in text and end:
        text = f"{text}, not {value}" if text.startswith(f"{name} must be ") else f"{text} (given: {value})"
    return f"{text}{end}"


def _with_all(setting: Setting, given: Any) -> list[str]:
    """Return the types of a union whose settings include all that were given, or every type if none does."""
    tags = choices(setting.annotation)
    keys = set(given) if isinstance(given, Mapping) else set()
    return [tag for tag, each in tags.items() if keys <= each.model_fields.keys()] or list(tags)


def _instead(setting: Setting, kind: Any, sources: Sources) -> tuple[str, str]:
    """Return what is probably meant by an unknown setting, and what to do if that is not known."""
    *outer, last = setting.parts
    section, key = sources.name(outer), str(last)
    siblings = list(setting.container.model_fields) if is_section(setting.container) else []
    known = list(names(kind))
    by_key: dict[str, list[str]] = {}
    for name, _ in known:
        by_key.setdefault(name.rpartition(".")[2], []).append(sources.name((name,)))
    dotted = written(setting.parts)
    if other_types := [tag for name, tag in known if name == dotted and tag]:
        return f"It belongs to {section}.type {' or '.join(map(repr, other_types))}.", ""
    if any(name == key for name, _ in known):
        first, _, rest = key.partition(".")
        return f"Write {first}: {{{rest}: ...}} instead.", ""
    # A setting of that very name in another section is more likely than one here that is spelt a little like it.
    for cutoff, candidates in ((0.8, siblings), (1.0, by_key), (0.6, siblings), (0.8, by_key)):
        if close := difflib.get_close_matches(key, candidates, n=1, cutoff=cutoff):
            if candidates is siblings:
                return f"Did you mean {'.'.join(filter(None, (section, close[0])))!r}?", ""
            places = dict.fromkeys(by_key[close[0]])
            nearby = [place for place in places if section and place.startswith(f"{section}.")]
            return f"There is {' and '.join(nearby or places)}.", ""
    return "", f"{section or 'The configuration'} has {listed(siblings, 20)}."


def _at(values: Any, parts: tuple[str | int, ...]) -> Any:
    """Return the value of a setting as it was given; ``None`` if it is not there."""
    for part in parts:
        try:
            values = values[part]
        except (LookupError, TypeError):
            return None
    return values
