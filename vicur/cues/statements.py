"""Parse the statements of a cue: "<subject> <verb> <values>", as in "The left column holds 7 and 5"."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vicur.data.schema import Example

_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_NUMBERS)}
_NUMBER_WORD = re.compile(rf"\b({'|'.join(_NUMBER_WORDS)})\b(?!-)")
_MATHS = re.compile(r"\$|\\[()\[\]]|\*\*|\\(?:text|mathrm|mathbf)\b")
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])")
_TRAILING_ZEROS = re.compile(r"(\d)\.0+(?!\d)")
_BLANKS = re.compile(r"[^\S\n]+")
_BLANK_LINE_ENDS = re.compile(r" ?\n ?")

_SENTENCE = re.compile(r"(?<=[.!?;])\s+|(?<!:)\n+(?!(?:is|are|equals)\b|=)")
# In "... 7 and 5 and the right column ...", a new clause starts with an article, another value does not.
_CLAUSE = re.compile(r"(?:,?\s+(?:and|while|but|whereas)|,)\s+(?=the\s)")
_STATEMENT = re.compile(
    r"(?:and\s+)?(?:the\s+|an?\s+)?(?P<subject>[^\W\d_][\w' -]*?)"
    r"(?:\s+(?:is|are|holds?|contains?|shows?|has|have|reads?|says|equals?)\s+|\s*[:=]\s*)(?P<values>.+)"
)
_VALUE_SEPARATOR = re.compile(r"\s*,\s*(?:and\s+)?|\s+and\s+")
_VALUE = re.compile(r"-?\d+(?:\.\d+)?|[^\W\d_]+(?:[ -][^\W\d_]+){0,2}")
_ARTICLE = re.compile(r"^(?:the|an?)\s+")


@dataclass(frozen=True)
class Statement:
    """A subject and its values in reading order, in lower case, with numbers as digits."""

    subject: str
    values: tuple[str, ...]


def canonical(text: str) -> str:
    """Normalize ``text``: lower case, NFKC, number words as digits, without LaTeX markup."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    text = _MATHS.sub("", text)
    text = _NUMBER_WORD.sub(lambda match: _NUMBER_WORDS[match[0]], text)
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    text = _TRAILING_ZEROS.sub(r"\1", text)
    return _BLANK_LINE_ENDS.sub("\n", _BLANKS.sub(" ", text)).strip()


def clauses(text: str) -> list[str]:
    """Split a canonical text into clauses without their final punctuation."""
    parts = (part for sentence in _SENTENCE.split(text) for part in _CLAUSE.split(sentence))
    return [part for part in (part.strip().rstrip(".!?;,").strip() for part in parts) if part]


def statement(clause: str) -> Statement | None:
    """Parse a clause that consists of exactly a subject, a verb and a list of values; return ``None`` for any other."""
    match = _STATEMENT.fullmatch(clause)
    if match is None:
        return None
    values = tuple(_ARTICLE.sub("", value) for value in _VALUE_SEPARATOR.split(match["values"]))
    if not all(_VALUE.fullmatch(value) for value in values):
        return None
    return Statement(match["subject"].strip(), values)


def stated_evidence(example: Example) -> dict[str, tuple[str, ...]]:
    """Return the values of an example's listed evidence (``metadata["evidence"]``) by subject."""
    return dict(_evidence(entry) for entry in example.metadata.get("evidence") or () if _is_evidence(entry))


def truths(example: Example) -> dict[str, tuple[str, ...]]:
    """Return all known content of the image as values by subject: listed evidence and the grid of a digit scene."""
    scene = example.metadata.get("scene")
    return {**(_grid_truths(scene) if isinstance(scene, Mapping) else {}), **stated_evidence(example)}


def _is_evidence(entry: Any) -> bool:
    return isinstance(entry, Mapping) and bool(entry.get("subject")) and "value" in entry


def _evidence(entry: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    value = entry["value"]
    values = value if isinstance(value, list | tuple) else [value]
    return canonical(str(entry["subject"])), tuple(_ARTICLE.sub("", canonical(str(v))) for v in values)


def _grid_truths(scene: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the rows, columns and coloured digits of a grid, as far as it has the shape whose parts have names."""
    from vicur.data.scene_text import COLUMN_NAMES, ROW_NAMES

    digits, colours = scene.get("digits") or [], scene.get("colours") or []
    parts: dict[str, tuple[str, ...]] = {}
    if len(digits) == len(ROW_NAMES) and all(len(row) == len(COLUMN_NAMES) for row in digits):
        parts |= {f"{name} row": tuple(map(str, row)) for name, row in zip(ROW_NAMES, digits, strict=True)}
        columns = zip(COLUMN_NAMES, zip(*digits, strict=True), strict=True)
        parts |= {f"{name} column": tuple(map(str, column)) for name, column in columns}
    pairs = zip(chain.from_iterable(colours), chain.from_iterable(digits), strict=False)
    return parts | {f"{colour} digit": (str(digit),) for colour, digit in pairs}
