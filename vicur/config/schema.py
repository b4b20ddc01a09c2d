"""Inspect the types of settings: their names, their nesting, and the unions that ``type`` chooses from."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

LISTS = (list, tuple, set, frozenset)


@dataclass(frozen=True)
class Setting:
    """The setting that an error is about. ``parts`` is its name as a configuration file nests it, with list indices."""

    parts: tuple[str | int, ...] = ()
    # Its type without Annotated and None, and the bounds and forms that these attached.
    annotation: Any = None
    metadata: tuple[Any, ...] = ()
    # Type of the section, list or mapping that contains it, and the `type` of that section in a union.
    container: Any = None
    choice: str | None = None
    # Whether the error is about a key of the mapping and not about a value.
    key: bool = False


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def members(annotation: Any) -> list[Any]:
    """Return the types of a union without ``None``. A type that is not a union is its only member."""
    annotation, _ = bare(annotation)
    return (
        [each for each in get_args(annotation) if each is not types.NoneType] if is_union(annotation) else [annotation]
    )


def bare(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[Any, tuple[Any, ...]]:
    """Strip ``Annotated`` and ``| None`` from a type and return it with all attached metadata."""
    attached = tuple(metadata)
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            # Field(...) keeps its bounds in a list.
            attached += tuple(item for each in more for item in (each, *getattr(each, "metadata", ())))
            continue
        others = [each for each in get_args(annotation) if each is not types.NoneType] if is_union(annotation) else []
        if len(others) != 1:
            return annotation, attached
        annotation = others[0]


def choices(annotation: Any) -> dict[str, type[BaseModel]]:
    """Return the sections of a union by the ``type`` that chooses them; empty for any other type."""
    sections = members(annotation)
    if len(sections) < 2 or not all(is_section(each) and "type" in each.model_fields for each in sections):
        return {}
    return {tag: each for each in sections for tag in get_args(each.model_fields["type"].annotation)}


def with_types(annotation: Any, value: Any) -> Any:
    """Expand bare names of sections, such as ``"k1"`` to ``{"type": "k1"}``, also within lists and mappings."""
    annotation, _ = bare(annotation)
    if isinstance(value, str):
        return {"type": value} if choices(annotation) else value
    origin, items = get_origin(annotation), get_args(annotation)
    if isinstance(value, Mapping) and origin is dict:
        return {key: with_types(items[1], each) for key, each in value.items()}
    if isinstance(value, list | tuple) and origin in LISTS:
        return [with_types(_item(items, place), each) for place, each in enumerate(value)]
    return value


@cache
def fields_with_choices(section: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a section, with their types, whose values may contain bare names."""
    return {name: each.annotation for name, each in section.model_fields.items() if _has_choices(each.annotation)}


def locate(kind: Any, location: Sequence[str | int]) -> Setting:
    """Find the setting that the ``loc`` of a pydantic error points at."""
    annotation, metadata = bare(kind)
    setting = Setting(annotation=annotation, metadata=metadata)
    for part in location:
        setting = _step(setting, part)
    return setting


def names(kind: Any, prefix: str = "", outer: tuple[Any, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the dotted names of all settings in a section, with the ``type`` of the section if it is one of a union."""
    for tag, section in (choices(kind) or {"": bare(kind)[0]}).items():
        if not is_section(section) or section in outer:
            continue
        for name, each in section.model_fields.items():
            yield f"{prefix}{name}", tag
            yield from names(each.annotation, f"{prefix}{name}.", (*outer, section))


def _has_choices(annotation: Any) -> bool:
    annotation, _ = bare(annotation)
    inner = get_args(annotation) if get_origin(annotation) in (dict, *LISTS) else ()
    return bool(choices(annotation)) or any(_has_choices(each) for each in inner)


def _item(items: Sequence[Any], place: str | int) -> Any:
    # tuple[X, Y] has a type for each place, tuple[X, ...] and list[X] have one for all.
    each_its_own = isinstance(place, int) and Ellipsis not in items and place < len(items)
    return items[place] if each_its_own and isinstance(place, int) else items[0]


def _step(here: Setting, part: str | int) -> Setting:
    tags, origin, items = choices(here.annotation), get_origin(here.annotation), get_args(here.annotation)
    # pydantic's locations have parts that users do not write: the `type` of a section in a union, the label of a member of
    # any other union ("int"), and "[key]". They do not become parts of the setting.
    if part in tags:
        return Setting(here.parts, tags[str(part)], choice=str(part))
    if is_union(here.annotation):
        return here
    if part == "[key]":
        inner, metadata = bare(get_args(here.container)[0]) if get_args(here.container) else (None, ())
        return Setting(here.parts[:-1], inner, metadata, here.container, key=True)
    inner, metadata = None, ()
    if is_section(here.annotation) and part in here.annotation.model_fields:
        known = here.annotation.model_fields[str(part)]
        inner, metadata = bare(known.annotation, known.metadata)
    elif origin is dict:
        inner, metadata = bare(items[1])
    elif origin in LISTS and items:
        inner, metadata = bare(_item(items, part))
    # The `type` belongs to the settings directly in that section. Those nested deeper are in sections of their own.
    choice = here.choice if here.container is None else None
    return Setting((*here.parts, part), inner, metadata, here.annotation, choice)
