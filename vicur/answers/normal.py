"""Normal forms of short answers: text without case, articles and punctuation; quantities as a number and a unit."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_WORDS)}
_ARTICLES = re.compile(r"^(?:(?:the|an|a)\s+)+(?=\S)")
_SPACE = re.compile(r"\s+")
# Keeps the point of ".5", and strips exclamation marks only after a letter: "5!" is a different number than "5".
_OUTER = re.compile(r"^[\s,;:?*_`]+|[\s.,;:?*_`]+$|(?<=[^\W\d_])!+$")
_QUOTED = re.compile(r"""(["'])(.*)\1|[“‘«](.*)[”’»]""", re.DOTALL)

_QUANTITY = re.compile(
    r"""
    (?P<currency>[$€£¥])?\s*
    (?P<number>[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|[-+]?\.[0-9]+)
    (?:\s*/\s*(?P<denominator>[0-9]+))?
    \s*(?P<unit>°|%|[a-zµ]{1,14})?
    """,
    re.VERBOSE,
)
_PLAIN = {"−": "-", "\\%": "%", "\\$": "$", "^\\circ": "°", "^{\\circ}": "°"}
_MAX_DIGITS = 60
_SHORT_UNITS = frozenset(
    ["°", "%", "$", "€", "£", "¥", "mm", "cm", "dm", "km", "mg", "kg", "ml", "cl", "ft", "in", "yd", "lb", "oz", "hr"]
)  # fmt: skip
_NOT_UNITS = frozenset({"sin", "cos", "tan", "log", "exp", "sqrt", "alpha", "beta", "gamma", "theta", "phi", "psi"})


@dataclass(frozen=True)
class Quantity:
    """A number with its unit (``cm``, ``%``, ``$``, ``apples``), which may be empty."""

    number: Fraction
    unit: str

    def agrees(self, other: Quantity) -> bool:
        """Return whether number and unit are the same.

        A unit may be left out, a variable may not: ``12 cm`` agrees with ``12``, ``3x`` does not agree with ``3``.
        A percentage agrees with its number and with its fraction: ``50 %`` with ``50`` and with ``0.5``.
        """
        if "" in (self.unit, other.unit) and "%" in (self.unit, other.unit):
            percent, plain = (self, other) if self.unit == "%" else (other, self)
            return plain.number in (percent.number, percent.number / 100)
        if self.number != other.number:
            return False
        return self.unit == other.unit or ("" in (self.unit, other.unit) and _is_unit(self.unit or other.unit))


def normal_text(text: str) -> str:
    """Normalize ``text``: lower case, NFKC, number words as digits, without leading articles and outer punctuation."""
    text = _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    # Quotes and punctuation nest in any order, so strip until nothing changes.
    previous = None
    while text != previous:
        previous = text
        text = _OUTER.sub("", text)
        if quoted := _QUOTED.fullmatch(text):
            text = quoted[2] if quoted[1] else quoted[3]
    text = _ARTICLES.sub("", text)
    return _NUMBER_WORDS.get(text, text)


def quantity(text: str) -> Quantity | None:
    """Parse ``text`` as a number with an optional unit, or return ``None`` if it contains anything else.

    ``1,000``, ``-3.5 cm``, ``3/4``, ``$20`` and ``50 %`` are quantities; ``x = 5``, ``2 + 3`` and ``3 or 4`` are not.
    """
    text = normal_text(text)
    for latex, plain in _PLAIN.items():
        text = text.replace(latex, plain)
    match = _QUANTITY.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    if match is None or (match["denominator"] is not None and not int(match["denominator"])):
        return None
    number = Fraction(match["number"].replace(",", "")) / int(match["denominator"] or 1)
    return Quantity(number, match["unit"] or match["currency"] or "")


def _is_unit(word: str) -> bool:
    return word in _SHORT_UNITS or (len(word) >= 3 and word not in _NOT_UNITS)
