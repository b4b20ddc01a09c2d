"""Choices in a prompt: their letters, whether a question lists them already, and the answer with its letter and text."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from vicur.answers.choices import named_choice
from vicur.answers.correct import gold_value
from vicur.answers.notation import plain
from vicur.prompts.markers import Marker, parse

LETTERS = string.ascii_uppercase
MOST_CHOICES = len(LETTERS)
"""Largest number of choices."""

_OWN_LABEL = re.compile(
    r"\s*(?:\((?P<a>[A-Z])\)|\[(?P<b>[A-Z])\]|(?P<c>[A-Z])\s?[.):\uff0e\uff1a\uff09])\s*(?P<text>\S.*)", re.DOTALL
)


def unlabelled(choices: Sequence[str]) -> tuple[str, ...]:
    """Return the choices without their letters, if each has the right one (``A. 12``, ``B. 15``)."""
    found = [_OWN_LABEL.fullmatch(choice) for choice in choices]
    letters = [match and (match["a"] or match["b"] or match["c"]) for match in found]
    if letters == [*LETTERS[: len(choices)]]:
        return tuple(match["text"] for match in found if match)
    return tuple(choices)


def are_letters(choices: Sequence[str]) -> bool:
    """Return whether the choices are their own letters, because the image contains them."""
    return [plain(choice).strip("()[].: ") for choice in choices] == [*LETTERS[: len(choices)]]


def answer_text(answer: str, choices: Sequence[str]) -> str:
    """Return a gold answer as a prompt states it: of a multiple-choice question letter and text (``C. 5``), else unchanged."""
    place = named_choice(gold_value(answer), choices) if choices else None
    if place is None or place >= MOST_CHOICES:
        return answer
    # A choice that is an image has no text.
    pieces = parse(unlabelled(choices)[place])
    text = " ".join("".join(piece for piece in pieces if not isinstance(piece, Marker)).split())
    return LETTERS[place] if not text or are_letters(choices) else f"{LETTERS[place]}. {text}"


def lists_choices(question: str, choices: Sequence[str]) -> bool:
    """Return whether the question lists the choices itself: all of them, in their order, each with its letter and text.

    Letters may be written as in ``A. 7``, ``(A) 7``, ``A) 7``, ``A: 7``, ``[A] 7`` or ``A - 7``, also in lower case, in LaTeX or in
    bold; without a sign behind them only at the start of a line. Choices may share a line.
    """
    if len(choices) < 2:
        return False
    return _lists(question, unlabelled(choices))


# A letter and its sign, where a word may start.
_BEFORE = r"(?:(?<=^)|(?<=[\s,;:/|*\u3001>]))"
_LABEL = re.compile(
    rf"{_BEFORE}(?:\(\s?(?P<round>[A-Za-z])\s?\)|\[(?P<square>[A-Za-z])\]|(?P<sign>[A-Za-z])\s?(?:[.):\u3001]|[-\u2013\u2014](?=\s)))"
    r"|^[ \t]*(?P<line>[A-Z])[ \t]+(?=\S)",
    re.MULTILINE,
)
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|mathsf|mbox)\s*\{\s*(\(?\[?[A-Za-z][)\].:]{0,2}\s?)\}")
_BOLD = re.compile(r"\*\*|__")
_SPACING = re.compile(r"\\(?:qquad|quad|item|;|,|:|!| )|~|\\\\|&")
_MATH_LABEL = re.compile(r"(?<!\S)\$(\(?[A-Za-z][).:]{1,2})\$")
_SEPARATOR = re.compile(r"[\s,;/|.]*(?:(?:\band|\bor)\b)?[\s,;:]*(?:\n[ \t]*[-*\u2022][ \t]*)?$", re.IGNORECASE)
# What may follow the last choice on its line: a full stop, or the next sentence.
_AFTER_LAST = re.compile(r"\s*(?:$|[.?;,!)]+(?=\s|$)|(?<=\s)[A-Z][a-z]+\s)")
_SLACK = 80  # characters that notation may add to a choice


def _plain_labels(text: str) -> str:
    # Full-width letters and signs become ASCII.
    text = unicodedata.normalize("NFKC", text)
    text = _WRAPPED.sub(r"\1 ", text)
    text = _BOLD.sub("", text)
    return _SPACING.sub(" ", _MATH_LABEL.sub(r"\1 ", text))


@lru_cache(maxsize=4096)
def _normal(text: str) -> str:
    return " ".join(plain(text).casefold().split()).strip(" .,;")


def _lists(question: str, choices: Sequence[str]) -> bool:
    text = _plain_labels(question)
    labels: dict[str, list[re.Match[str]]] = {}
    for match in _LABEL.finditer(text):
        letter = match["round"] or match["square"] or match["sign"] or match["line"]
        labels.setdefault(letter, []).append(match)
    wanted = [_normal(_plain_labels(choice)) for choice in choices]
    longest = [4 * len(choice) + _SLACK for choice in choices]
    for letters in (LETTERS, LETTERS.lower()):
        if all(letters[place] in labels for place in range(len(choices))):
            starts = [[(match.start(), match.end()) for match in labels[letter]] for letter in letters[: len(choices)]]
            if _chained(text, starts, wanted, longest):
                return True
    return False


def _chained(
    text: str, labels: Sequence[Sequence[tuple[int, int]]], wanted: Sequence[str], longest: Sequence[int]
) -> bool:
    """Return whether each label is followed by its choice and that by the next label."""
    ends = {end for _, end in labels[0]}
    for place in range(len(wanted) - 1):
        following = [
            (start, end)
            for start, end in labels[place + 1]
            if any(
                previous <= start <= previous + longest[place] and wanted[place] in _readings(text[previous:start])
                for previous in ends
            )
        ]
        ends = {end for _, end in following}
    return any(_starts_with(text[end : end + longest[-1]], wanted[-1]) for end in ends)


def _readings(text: str) -> tuple[str, str]:
    # The dots at an end may separate choices, or be a part of one ("2, 4, ...").
    return _normal(_SEPARATOR.sub("", text)), _normal(text)


def _starts_with(text: str, choice: str) -> bool:
    line = text.lstrip().split("\n", 1)[0]
    if choice in (_normal(line), _normal(text)):
        return True
    # The next sentence follows on the same line.
    words = [match.end() for match in re.finditer(r"\S+", line)]
    return any(_normal(line[:end]) == choice and _AFTER_LAST.match(line, end) is not None for end in words) or any(
        _normal(line[: end - 1]) == choice and line[end - 1] in ".?;,!)" for end in words
    )
