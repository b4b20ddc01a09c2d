"""Check a response against an example's answer."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vicur.answers.extract import extract_answer
from vicur.answers.mathematics import math_equal
from vicur.answers.normal import normal_text, quantity

if TYPE_CHECKING:
    from vicur.data.schema import Example

_LABEL = re.compile(r"\(?([A-Za-z])\)?(?:\s*[).:].*|\s*)", re.DOTALL)
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}")
_LATEX_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "pi", "arcsin", "arccos", "arctan", "deg"}
)
# More than digits and spaces: a letter, a command, a sign, a bracket, a comma between values.
_COMPUTABLE = re.compile(r"[^\W\d_]|[\\^=+*/(){}\[\]<>|!%,√-]|\d\s*:\s*\d")
_MAX_FORMULA = 300


def is_correct(response: str, example: Example) -> bool:
    """Return whether the final answer of ``response`` matches that of ``example``. A response without a final answer is incorrect.

    The example's ``answer`` is a text, number or formula; with ``choices``, the text or letter of one of them.

    Raises:
        VicurError: if math-verify cannot run in this environment.
    """
    stated = extract_answer(response)
    if stated is None:
        return False
    if example.choices:
        return _same_choice(example.answer, stated, example.choices)
    return same_answer(example.answer, stated)


def same_answer(gold: str, stated: str) -> bool:
    """Return whether two short answers are the same text, the same quantity or equal formulas."""
    if normal_text(gold) == normal_text(stated):
        return bool(normal_text(gold)) or gold.strip() == stated.strip()
    left, right = quantity(gold), quantity(stated)
    if left is not None and right is not None:
        return left.agrees(right)
    return is_formula(gold) and is_formula(stated) and math_equal(gold.strip(), stated.strip())


def is_formula(text: str) -> bool:
    """Return whether ``text`` reads as mathematics: it has something to compute and no words."""
    if len(text) > _MAX_FORMULA or not (_COMPUTABLE.search(text) or quantity(text)):
        return False
    # sympy would parse other words as products of variables.
    bare = _LATEX_COMMAND.sub(" ", _LATEX_TEXT.sub(" ", text))
    return all(word.lower() in _FUNCTIONS for word in _WORD.findall(bare))


def _same_choice(gold: str, stated: str, choices: Sequence[str]) -> bool:
    right = _choice(gold, choices)
    if right is None:
        return same_answer(gold, stated)
    named = _choice(stated, choices)
    if named is None:
        # The same value in another notation, unless several choices have that value ("0.5" with "1/2" and "2/4").
        return [i for i, choice in enumerate(choices) if same_answer(choice, stated)] == [right]
    return named == right or normal_text(choices[named]) == normal_text(choices[right])


def _choice(text: str, choices: Sequence[str]) -> int | None:
    """Return the index of the choice that ``text`` names."""
    # Texts take precedence over letters, because choices may be letters themselves.
    for index, choice in enumerate(choices):
        if normal_text(choice) == normal_text(text):
            return index
    match = _LABEL.fullmatch(text.strip())
    index = string.ascii_uppercase.index(match[1].upper()) if match else len(choices)
    return index if index < len(choices) else None
