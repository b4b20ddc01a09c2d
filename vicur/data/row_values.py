"""Values of a row as text and choices, in the forms that public datasets use."""

from __future__ import annotations

import ast
import json
import math
import re
import string
from collections import Counter
from collections.abc import Mapping
from typing import Any

from vicur.answers.choices import canonical_choice
from vicur.config.formats import AnswerIndex
from vicur.data.schema import UnusableRowError

MOST_CHOICES = len(string.ascii_uppercase)
_LONGEST_PLACE = 4  # digits
_LONGEST_LIST = 100_000  # characters of a list that is written as text
_LETTERED = re.compile(r"\s*[(\[]?(?P<letter>[A-Z])[)\].:]\s*(?P<text>\S.*?)\s*")
_AS_TEXT = 'Write it as text ("12").'


def text_of(value: Any, field: str) -> str:
    """Return a text or number as text: ``12`` and ``12.0`` are ``"12"``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnusableRowError(field, "is not text", _AS_TEXT)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnusableRowError(field, f"is {value}, not a number", _AS_TEXT)
        if value.is_integer() and abs(value) < 1 << 53:
            return str(int(value))
    try:
        return str(value)
    except ValueError:  # Python refuses to write out integers of several thousand digits
        raise UnusableRowError(field, "is a number that is too large", _AS_TEXT) from None


def answer_of(value: Any, choices: tuple[str, ...], index: AnswerIndex) -> str:
    """Return an answer as text. If ``index`` is 0 or 1, a number counts the choices from there."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        raise UnusableRowError(
            "answer",
            f"is a list of {len(value)} answers",
            "Name the column, or the item (answers.0), of the right one.",
        )
    if isinstance(value, bool):
        # Python's words for them would not be those of the question.
        raise UnusableRowError(
            "answer", "is true or false", 'Write the word that a response should contain, such as "yes".'
        )
    text = text_of(value, "answer")
    number = place_of(value) if choices else None
    if number is None:
        return text
    if isinstance(index, int) and 0 <= number - index < len(choices):
        return choices[number - index]
    if canonical_choice(text, choices) is None:
        counted = f" ({len(choices)}, counted from {index})" if isinstance(index, int) else ""
        raise UnusableRowError(
            "answer",
            f"{text!r} is not one of the choices{counted}",
            "Write the text or letter of a choice, or set data.answer_index if answers count the choices.",
        )
    return text


def place_of(value: Any) -> int | None:
    """Return the whole number that an answer is, or ``None`` for another answer."""
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = text_of(value, "answer").strip()
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_PLACE else None


def most_frequent(answers: Any) -> str | None:
    """Return the answer that most annotators gave; of several, the one that was given first."""
    if not isinstance(answers, list):
        return None
    texts = [each.get("answer") if isinstance(each, dict) else each for each in answers]
    counts = Counter(text for text in texts if isinstance(text, str) and text.strip())
    return counts.most_common(1)[0][0] if counts else None


def choices_of(value: Any) -> tuple[str, ...]:
    """Return choices from a list, a mapping of letters, ``{"label": [...], "text": [...]}``, or a list that is written as text."""
    if isinstance(value, str):
        value = _list_in(value)
    if isinstance(value, Mapping):
        value = _from_mapping({key: each for key, each in value.items() if each is not None})
    if not isinstance(value, list):
        raise UnusableRowError("choices", "is not a list", 'Write a list of choices: ["7", "5"].')
    texts = tuple(_choice(each, place) for place, each in enumerate(value))
    if len(texts) > MOST_CHOICES:
        raise UnusableRowError(
            "choices", f"has {len(texts)} choices, but there are only {MOST_CHOICES} letters", "Remove some of them."
        )
    return texts


def _choice(value: Any, place: int) -> str:
    if isinstance(value, Mapping):
        # [{"label": "A", "text": "7"}, ...]
        value = next((value[key] for key in ("text", "content", "value") if key in value), value)
    return text_of(value, f"choices[{place}]")


def _from_mapping(value: dict[Any, Any]) -> list[Any]:
    texts, labels = value.get("text"), value.get("label")
    if isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels):
        return texts
    names = sorted(map(str, value))
    letters = [name.strip("()[]. ").upper() for name in names]
    if letters != list(string.ascii_uppercase[: len(letters)]):
        raise UnusableRowError(
            "choices", f"has the keys {', '.join(names)[:60]}, not A, B, C, ...", 'Write a list: ["7", "5"].'
        )
    return [value[name] for name in names]


def _list_in(text: str) -> Any:
    """Read ``["7", "5"]``, ``['7', '5']``, ``A. 7`` on one line and ``B. 5`` on the next, or ``7; 5`` and ``7 | 5``."""
    stripped = text.strip()
    if len(stripped) > _LONGEST_LIST or not stripped:
        return [] if not stripped else text
    if stripped[0] in "[{(" and (value := literal(stripped)) is not None:
        return value
    lines = [line for line in stripped.splitlines() if line.strip()]
    found = [match for line in lines if (match := _LETTERED.fullmatch(line))]
    if len(found) == len(lines) > 1 and [m["letter"] for m in found] == list(string.ascii_uppercase[: len(found)]):
        return [match["text"] for match in found]
    for separator in ("|", ";", "\n"):
        parts = [part.strip() for part in stripped.split(separator)]
        if len(parts) > 1 and all(parts):
            return parts
    return text


def literal(text: str) -> list[Any] | dict[Any, Any] | None:
    """Return the list or mapping that a text writes as JSON or Python does, or ``None``."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            # Only literals: nothing is run.
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, list | dict) else None
