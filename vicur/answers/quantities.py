"""Numbers with a unit. A unit may be left out; two units are converted, and must be of the same kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from vicur.answers.numerals import MAGNITUDES, MAX_DIGITS, leading_number
from vicur.answers.units import Unit, counted, measure

_CURRENCY = re.compile(r"(?P<sign>-?)\s?(?P<currency>US\$|[$€£¥])\s?(?=[-.\d])")
_AND = re.compile(r"\s*(?:,? and |, )?")
_UNIT_END = re.compile(r"(?<=[\d)}π°!'A-Za-z])\s+(?P<unit>[A-Za-zμ°Ω%][^\\{}()=+]{0,40})$|(?P<sign>[°%])$")
_UNITLESS = Unit()


@dataclass(frozen=True)
class Quantity:
    """A number with its unit."""

    number: Fraction
    unit: Unit = _UNITLESS
    variable: bool = False
    """Whether the unit may be a variable: the ``m`` of ``3m``, which does not agree with ``3``."""

    def agrees(self, other: Quantity) -> bool:
        """Return whether this gold quantity is the same as ``other``.

        ``12 cm`` agrees with ``12`` and ``120 mm``, not with ``12 mm``. A percentage agrees with its fraction (``50 %`` with ``0.5``) and
        with its number (``50``), except if the gold number has no percent sign and is at most 1: ``0.5`` is not ``0.5 %``.
        """
        if self.unit.is_percent != other.unit.is_percent:
            return self._percent_agrees(other)
        if self.unit.is_none or other.unit.is_none:
            return self.number == other.number and not (self.variable or other.variable)
        if self.unit.things and other.unit.things:
            named = self.unit.things <= other.unit.things or other.unit.things <= self.unit.things
            return named and self.number == other.number
        same_kind = not (self.unit.things or other.unit.things) and self.unit.dimensions == other.unit.dimensions
        return same_kind and self.number * self.unit.factor == other.number * other.unit.factor

    def _percent_agrees(self, other: Quantity) -> bool:
        percent, bare = (self, other) if self.unit.is_percent else (other, self)
        if not bare.unit.is_none:
            return False
        if bare.number == percent.number / 100:
            return True
        return bare.number == percent.number and (percent is self or abs(bare.number) > 1 or not bare.number)


@lru_cache(maxsize=8192)
def quantity(text: str) -> Quantity | None:
    """Read plain ``text`` as a number with an optional unit, or return ``None`` if it contains anything else.

    ``1,000``, ``-3.5 cm``, ``3/4``, ``$20``, ``50 %``, ``ninety-six`` and ``5 ft 3 in`` are quantities; ``x = 5``, ``2 + 3`` and ``3 or 4``
    are not.
    """
    text = re.sub(r"^\(([^(),]*)\)", r"\1", text)
    if len(text) > 2 * MAX_DIGITS:
        return None
    currency = _CURRENCY.match(text)
    found = leading_number(currency["sign"] + text[currency.end() :] if currency else text)
    if found is None:
        return None
    number, rest = found
    rest = re.sub(r"^-(?=[a-z])", " ", rest)
    word, _, after = rest.strip().partition(" ")
    if word.casefold() in MAGNITUDES:
        number, rest = number * MAGNITUDES[word.casefold()], f" {after}" if after else ""
    if currency:
        if rest.strip() and measure(rest) != measure(currency["currency"]):
            return None
        return Quantity(number, measure(currency["currency"]) or _UNITLESS)
    return _with_unit(number, rest) or _sum(text)


def _with_unit(number: Fraction, rest: str) -> Quantity | None:
    name = rest.strip()
    if not name:
        return Quantity(number)
    unit = measure(name)
    attached = rest[0] != " " and name[0].isalpha()
    if unit is not None:
        return Quantity(number, unit, variable=attached and len(name) == 1)
    unit = None if attached else counted(name)
    return None if unit is None else Quantity(number, unit)


def _sum(text: str) -> Quantity | None:
    """Read ``5 ft 3 in``, ``1 hour and 30 minutes`` or ``2 pounds, 3 ounces``: units of one kind, the larger first."""
    text = re.sub(r"(?<=\d) ?' ?(\d+(?:\.\d+)?) ?(?:\"|'')$", r" ft \1 in", text)
    pieces = re.split(r",? and |, ", text)
    if len(pieces) > 1 and not any(c.isdigit() for c in text):
        return _total([quantity(piece) for piece in pieces])
    parts: list[Quantity] = []
    for piece in re.findall(r"[\d.,/ ]*\d ?[^\d]+", text):
        found = leading_number(piece.strip())
        unit = measure(re.sub(r"(?:,| and|, and) ?$", "", found[1].strip())) if found else None
        if found is None or unit is None or unit.is_none:
            return None
        parts.append(Quantity(found[0], unit))
    spelled = "".join(re.findall(r"[\d.,/ ]*\d ?[^\d]+", text)) == text
    return _total(list(parts)) if spelled else None


def _total(quantities: Sequence[Quantity | None]) -> Quantity | None:
    """Return the sum of quantities of one kind in descending units."""
    parts = [part for part in quantities if part is not None and part.unit.dimensions]
    kinds = {part.unit.dimensions for part in parts}
    factors = [part.unit.factor for part in parts]
    if len(parts) < max(2, len(quantities)) or len(kinds) > 1 or sorted(set(factors), reverse=True) != factors:
        return None
    total = sum((part.number * part.unit.factor for part in parts), Fraction(0)) / factors[0]
    return Quantity(total, parts[0].unit)


def split_unit(text: str) -> tuple[str, Unit]:
    """Split a unit of measurement off the end of a formula: ``2\\sqrt{3} cm``."""
    match = _UNIT_END.search(text)
    if match is None:
        return text, _UNITLESS
    unit = measure(match["unit"] or match["sign"])
    return (text, _UNITLESS) if unit is None else (text[: match.start()].strip(), unit)
