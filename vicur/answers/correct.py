"""Check a response against an example's answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, Protocol

from vicur.answers.choices import label, named_choice, names_choice
from vicur.answers.compare import same_value
from vicur.answers.extract import extract_answer, framed_answer
from vicur.answers.notation import plain
from vicur.answers.statements import is_doubtful, remark, values
from vicur.answers.strict import strict_answer
from vicur.answers.words import is_prose

Extractor = Literal["strict", "lenient"]
_GOLD_LETTER = re.compile(r"\(?[A-Z]\)?")


class Answered(Protocol):
    """Part of an example that responses are checked against."""

    @property
    def answer(self) -> str: ...
    @property
    def choices(self) -> Sequence[str]: ...
    @property
    def metadata(self) -> dict[str, Any]: ...


def is_correct(response: str, example: Answered, *, extractor: Extractor = "lenient") -> bool:
    """Return whether the final answer of ``response`` matches that of ``example``. A response without a final answer is incorrect.

    The example's ``answer`` is a text, number or formula; with ``choices``, the text or letter of one of them.

    Raises:
        VicurError: if math-verify cannot run in this environment.
    """
    stated = strict_answer(response) if extractor == "strict" else extract_answer(response)
    if stated is None:
        return False
    return matches(example.answer, stated, example.choices)


def matches(gold: str, stated: str, choices: Sequence[str] = ()) -> bool:
    """Return whether a stated answer is the gold one, which may be framed as in a response: ``$60$``, ``#### 60``."""
    if choices:
        right = named_choice(gold_value(gold), choices)
        if right is not None:
            return names_choice(right, plain(stated), choices)
    return same_answer(gold, stated)


def same_answer(gold: str, stated: str) -> bool:
    """Return whether two short answers are the same text, the same quantity or equal formulas."""
    if gold.isdecimal() and stated.isdecimal() and gold.isascii() and stated.isascii():
        return gold.lstrip("0") == stated.lstrip("0")
    return _same_answer(gold_value(gold), stated) or gold.strip() == stated.strip() != ""


@lru_cache(maxsize=65536)
def gold_value(gold: str) -> str:
    """Return a dataset's answer in plain notation, without a frame such as ``<answer> A </answer>`` or "The answer is 5"."""
    return plain(gold if gold.isalnum() else framed_answer(gold) or gold)


@lru_cache(maxsize=65536)
def _same_answer(gold: str, stated: str) -> bool:
    text = plain(stated)
    for reading in values(text):
        if same_value(gold, reading):
            return True
        head, behind = remark(reading)
        if behind and same_value(gold, head) and (same_value(gold, behind) or _is_comment(behind)):
            return True
    return _names_letter(gold, text)


def _is_comment(behind: str) -> bool:
    return is_prose(behind) and not any(c.isdigit() for c in behind) and not is_doubtful(behind)


def _names_letter(gold: str, stated: str) -> bool:
    """Check an answer by its letter, if the choices are part of the question and only the letter is known (``B``, ``B. 15 cm``)."""
    right = label(gold)
    if right is None or not (_GOLD_LETTER.fullmatch(gold) or right[1]) or not gold[:2].strip("(")[:1].isupper():
        return False
    for reading in values(stated):
        named = label(reading)
        if named is not None:
            same_text = not right[1] or not named[1] or any(same_value(right[1], text) for text in values(named[1]))
            return named[0] == right[0] and same_text and label(named[1]) is None and not is_doubtful(named[1])
        if right[1] and same_value(right[1], reading):
            return True
    return False
