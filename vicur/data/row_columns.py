"""Find the columns of our fields in a row: the ones that the user names, or those that have the usual names and forms."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from vicur.config.data import ImportConfig
from vicur.config.formats import AnswerIndex, FieldName, SplitTarget
from vicur.config.video import VideoConfig
from vicur.data.formats.base import Format
from vicur.data.formats.columns import (
    CHOICE_NUMBERS,
    IMAGE_IDS,
    MAYBE_IMAGES,
    MAYBE_QUESTION,
    MISSING,
    PUBLIC,
    folded,
    folded_names,
    is_pattern,
    lookup,
)
from vicur.data.row_values import most_frequent
from vicur.data.schema import VIDEO, UnusableRowError

NO_VALUE = (None, "")
"""Values that a row has where it lacks a field."""
_IMAGE_FILE = re.compile(r"[^\n]{1,1000}\.(avif|bmp|gif|jpe?g|png|tiff?|webp)(?:[\"']\s*\])?", re.IGNORECASE)
_DATA_URL = "data:image/"
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{64,1024}")
_WEB = re.compile(r"https?://\S", re.IGNORECASE)
_ASKS = re.compile(r"[?？]")


class Match(NamedTuple):
    """The value of a field, the column, path or pattern that it was found by, and the row's columns that it comes from."""

    value: Any
    column: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """How the columns of a source become fields.

    Attributes:
        columns: columns of each field, by the format or by ``data.fields``.
        explicit: fields that ``data.fields`` sets. Their columns must be exactly these, and other fields' columns are guessed.
        is_public: whether columns have the names that public datasets use. Their values may then be written in any way that these do.
        question: question of rows that have none; empty if such rows are unusable.
    """

    columns: Mapping[FieldName, tuple[str, ...]]
    explicit: frozenset[str]
    is_strict: bool
    is_public: bool
    splits: Mapping[str, SplitTarget]
    answer_index: AnswerIndex
    max_pixels: int
    max_prompt_tokens: int
    seed: int
    video: VideoConfig
    fingerprints: bool = False
    question: str = ""

    @classmethod
    def of(cls, format_: Format, config: ImportConfig, seed: int) -> Layout:
        """Return the layout of a source in a format."""
        return cls(
            columns={**format_.columns, **config.fields},
            explicit=frozenset(config.fields),
            is_strict=format_.is_strict,
            is_public=format_.columns["question"] is PUBLIC["question"],
            splits=config.splits,
            answer_index=config.answer_index,
            max_pixels=config.max_pixels,
            max_prompt_tokens=config.max_prompt_tokens,
            seed=seed,
            video=config.video,
            fingerprints=config.duplicates != "off",
            question=config.question,
        )


def fields_of(columns: Mapping[str, Any], layout: Layout) -> tuple[dict[FieldName, Match], dict[str, Any]]:
    """Return our fields, and the columns that are none of them.

    Raises:
        UnusableRowError: if a column that ``data.fields`` names is missing and the field is needed.
    """
    found = matched(columns, layout)
    needed: tuple[FieldName, ...] = ("question", "answer")
    for field in needed:
        if field not in layout.explicit or field in found:
            continue
        wanted = " or ".join(map(repr, layout.columns[field]))
        raise UnusableRowError(
            field,
            f"the column {wanted} is missing" if wanted else "has no column",
            f"Add it, or correct {field} in data.fields: the row has {', '.join(columns)}.",
        )
    used = {name for match in found.values() for name in match.names}
    rest = {name: value for name, value in columns.items() if name not in used}
    answer = found.get("answer")
    if (
        answer is not None
        and folded(answer.column) == "answers"
        and isinstance(answer.value, list)
        and len(answer.value) > 1
    ):
        # Of several annotators.
        found["answer"] = answer._replace(value=most_frequent(answer.value) or answer.value)
        rest["answers"] = answer.value
    return found, rest


def matched(columns: Mapping[str, Any], layout: Layout) -> dict[FieldName, Match]:
    """Return the column of each field that a row has."""
    names_by_folded = folded_names(columns)
    found: dict[FieldName, Match] = {}
    used: set[str] = set()
    # The columns that the user names are not available to guesses for other fields.
    for field in sorted(layout.columns, key=lambda each: each not in layout.explicit):
        explicit = field in layout.explicit
        for name in layout.columns[field]:
            value, names = lookup(columns, name)
            if value is MISSING and not explicit and not layout.is_strict:
                value, names = _lookup_folded(columns, names_by_folded, name)
            if value is not MISSING and not explicit and not layout.is_strict:
                value, names = _with_images(columns, value, names, name)
            if value is MISSING or (not explicit and (used & set(names) or not _fits(name, names, value))):
                continue
            if value in NO_VALUE and not layout.is_strict:
                continue
            if field == "images" and layout.is_public and folded(name) in IMAGE_IDS and _is_number(value):
                value = str(value)
            found[field] = Match(value, name if len(names) != 1 or "." in name else names[0], names)
            used.update(names)
            break
    if layout.is_strict:
        return found
    if {"images", VIDEO} <= found.keys():
        # A row is about one of the two: what the user names, or else the images if there are any.
        is_named = VIDEO in layout.explicit and "images" not in layout.explicit
        del found["images" if is_named or not found["images"].value else VIDEO]
    if layout.columns.get("images") and not {"images", VIDEO} & (found.keys() | layout.explicit):
        named = _images_by_form({name: value for name, value in columns.items() if name not in used}, layout)
        if named is not None:
            found["images"] = named
    return found


def _lookup_folded(
    columns: Mapping[str, Any], names_by_folded: Mapping[str, str], name: str
) -> tuple[Any, tuple[str, ...]]:
    """Look up a column without regard to case, or a pattern (``Choice A`` by ``choice_*``)."""
    if not is_pattern(name):
        return lookup(columns, names_by_folded.get(folded(name), name))
    if name.startswith("["):  # letters, which are capitals
        return MISSING, ()
    same = {each: names_by_folded[each] for each in names_by_folded if fnmatch.fnmatchcase(each, name)}
    value, found = lookup({each: columns[original] for each, original in same.items()}, name)
    return value, tuple(same[each] for each in found)


def _with_images(
    columns: Mapping[str, Any], value: Any, names: tuple[str, ...], pattern: str
) -> tuple[Any, tuple[str, ...]]:
    """Keep those columns of the pattern ``image_*`` that have images: not ``image_type`` or ``image_id``."""
    if pattern != MAYBE_IMAGES:
        return value, names
    kept = tuple(name for name in names if folded(name).rpartition("_")[2].isdecimal() or has_image(columns[name]))
    # The address that an image comes from is often beside its name.
    kept = tuple(name for name in kept if not _is_web(columns[name])) or kept
    values = [columns[name] for name in kept]
    return (values, kept) if kept else (MISSING, ())


def _images_by_form(columns: Mapping[str, Any], layout: Layout) -> Match | None:
    """Return the images of a row whose columns have no usual name.

    They are decided by the form of the values alone, so that a missing file makes the row unusable, not blind: all columns with images
    in them, or the only one with the name of an image file, or else one with the number of an image.
    """
    inside = tuple(name for name, value in columns.items() if _is_embedded(value))
    if inside:
        return Match(columns[inside[0]] if len(inside) == 1 else [columns[name] for name in inside], inside[0], inside)
    files = [name for name, value in columns.items() if isinstance(value, str) and _IMAGE_FILE.fullmatch(value.strip())]
    if len(files) == 1:
        return Match(columns[files[0]], files[0], (files[0],))
    if files or not layout.is_public:
        return None
    names_by_folded = folded_names(columns)
    named = (names_by_folded[name] for name in IMAGE_IDS if name in names_by_folded)
    found = next((name for name in named if _is_number(columns[name])), None)
    return None if found is None else Match(str(columns[found]), found, (found,))


def has_image(value: Any) -> bool:
    """Return whether a value has the form of an image: bytes, the name of an image file, base64, a web address, or a list of these."""
    if isinstance(value, list):
        return bool(value) and all(map(has_image, value))
    if not isinstance(value, str):
        return _is_embedded(value)
    text = value.strip()
    is_encoded = _BASE64.fullmatch(text[:1024]) is not None
    return is_encoded or bool(_IMAGE_FILE.fullmatch(text)) or text[:11].lower() == _DATA_URL or _is_web(text)


def _is_web(value: Any) -> bool:
    return isinstance(value, str) and _WEB.match(value) is not None


def _is_embedded(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_embedded, value))
    return isinstance(value, Mapping) and {"bytes", "path"} == value.keys() and isinstance(value["bytes"], bytes)


def _is_number(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and value.isdecimal())


def _fits(name: str, names: tuple[str, ...], value: Any) -> bool:
    if name == MAYBE_QUESTION:
        # A text may also be a caption, or what an image says.
        return isinstance(value, str) and _ASKS.search(value) is not None
    if name == CHOICE_NUMBERS:
        return len(names) > 1 and [int(each[1:]) for each in names] == list(range(len(names)))
    # One column "A" is not a choice, and neither are "X" and "Y".
    return name != "[A-Z]" or (len(names) > 1 and "".join(names) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(names)])
