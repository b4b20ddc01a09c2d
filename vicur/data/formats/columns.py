"""Columns of our fields: the names that public datasets use, and how a name is looked up in a row."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vicur.config.formats import FIELD_NAMES, FieldName

OWN: Mapping[FieldName, tuple[str, ...]] = {name: (name,) for name in FIELD_NAMES if name not in ("group", "kind")}
"""The fields by their own names."""

MAYBE_QUESTION = "text"
"""Column that has the question if it is one; otherwise it may be a caption."""
MAYBE_IMAGES = "image_*"
"""Columns that have images if their values look like it (``image_1``, ``image_list``, but not ``image_type``)."""
CHOICE_NUMBERS = "a[0-9]"
"""Columns ``a0``, ``a1``, ... of choices."""
IMAGE_IDS = ("image_id", "image_index", "image_idx", "img_id", "imageid")
"""Columns with the number of an image, which is the name of its file, for rows that name their image in no other way."""
RESPONSES = ("solution", "response", "output", "outputs", "completion", "chosen")
"""Columns with a response: reasoning and answer in one text."""

PUBLIC: Mapping[FieldName, tuple[str, ...]] = {
    "id": ("id", "pid", "qid", "question_id", "questionId", "uid", "sample_id", "index"),
    "question": (
        "question",
        "problem",
        "query",
        "question_text",
        "question_string",
        "prompt",
        "instruction",
        MAYBE_QUESTION,
    ),
    "images": (
        "images",
        "image",
        "decoded_image",
        "img",
        "image_path",
        "image_paths",
        "img_path",
        "image_file",
        "image_name",
        "img_name",
        "file_name",
        "filename",
        MAYBE_IMAGES,
        "photo",
        "picture",
    ),
    "video": ("video", "videos", "video_path", "video_file"),
    "choices": (
        "choices",
        "options",
        "candidates",
        "multiple_choices",
        "answer_choices",
        "[A-Z]",
        "option_*",
        "choice_*",
        CHOICE_NUMBERS,
    ),
    "answer": (
        "answer",
        "final_answer",
        "correct_answer",
        "ground_truth",
        "gt",
        "gt_answer",
        "answers",
        *RESPONSES,
        "label",
        "target",
    ),
    "rationale": ("rationale", "reasoning", "explanation", "solution", "cot"),
    "cue": ("cue",),
    "source": ("source", "data_source"),
    "split": ("split",),
    "metadata": ("metadata",),
    "group": ("group",),
    "kind": ("kind", "question_type"),
}
"""Names in public datasets, compared without regard to case. Patterns match several columns (``A``, ``B``, ... or ``image_1``, ...)."""

_LARGEST_NESTED = 1 << 20
_DIGITS = re.compile(r"(\d+)")


class Missing:
    """The type of :data:`MISSING`."""


MISSING = Missing()
"""The value of a column that a row does not have."""


def is_pattern(name: str) -> bool:
    """Return whether a name matches several columns."""
    return any(character in name for character in "*?[")


def folded(name: str) -> str:
    """Return a column's name as guesses compare it: ``Question Type`` and ``question_type`` are the same."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def folded_names(columns: Iterable[str]) -> dict[str, str]:
    """Return the names of a row's columns by their folded names."""
    return {folded(name): name for name in columns}


def lookup(columns: Mapping[str, Any], name: str) -> tuple[Any, tuple[str, ...]]:
    """Look up a column, a path into nested columns (``a.b``, ``a.0``) or a pattern in a row.

    Returns:
        The value, or :data:`MISSING`, and the names of the row's columns that it comes from. A pattern gives the list of values that are
        not null, in natural order (``image_2`` before ``image_10``).
    """
    if name in columns:
        return columns[name], (name,)
    if is_pattern(name):
        names = sorted((each for each in columns if fnmatch.fnmatchcase(each, name)), key=_natural)
        values = [columns[each] for each in names if columns[each] not in (None, "")]
        return (values, tuple(names)) if values else (MISSING, ())
    first, dot, rest = name.partition(".")
    while dot:
        # Names of columns may contain dots themselves.
        if first in columns:
            return _inside(columns[first], rest), (first,)
        more, dot, rest = rest.partition(".")
        first = f"{first}.{more}"
    return MISSING, ()


def _inside(value: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(value, str):
            value = _nested_json(value)
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def _nested_json(text: str) -> Any:
    if len(text) > _LARGEST_NESTED or text.lstrip()[:1] not in ("{", "["):
        return MISSING
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return MISSING


def _natural(name: str) -> list[tuple[bool, int, str]]:
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in _DIGITS.split(name)]
