"""Digits that are not arithmetic: times of day, dates, ranges, scores, ratios, phone numbers and other codes.

``9:45`` is not a division and ``2-1`` not a subtraction: such answers are compared part by part, never calculated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from vicur.answers.numerals import leading_number, number
from vicur.answers.units import Unit, measure


@dataclass(frozen=True)
class Clock:
    """A time of day. ``half`` is ``am``, ``pm`` or empty."""

    hour: int
    minute: int
    second: int = 0
    half: str = ""

    def agrees(self, other: Clock) -> bool:
        """Return whether both may be the same time: one without am or pm agrees with either."""
        if (self.minute, self.second) != (other.minute, other.second):
            return False
        if bool(self.half) == bool(other.half):
            return self._absolute() == other._absolute()
        halved, bare = (self, other) if self.half else (other, self)
        return bare.hour in (halved.hour, halved._absolute())

    def _absolute(self) -> int:
        return self.hour if not self.half else self.hour % 12 + 12 * (self.half == "pm")


@dataclass(frozen=True)
class Date:
    """A date. Parts that are not stated are 0; ``3/4/2021``, which has two readings, keeps its ``order``."""

    year: int
    month: int
    day: int
    order: str = ""


@dataclass(frozen=True)
class Code:
    """A phone number, version, ratio of three or similar: numbers joined by signs."""

    parts: tuple[str, ...]
    signs: frozenset[str]

    def agrees(self, other: Code) -> bool:
        if self.is_phone and other.is_phone:
            return self.digits == other.digits
        return self.signs == other.signs and [p.lstrip("0") for p in self.parts] == [p.lstrip("0") for p in other.parts]

    @property
    def digits(self) -> str:
        return "".join(self.parts)

    @property
    def is_phone(self) -> bool:
        return 7 <= len(self.digits) <= 15 and len(self.parts[-1]) >= 4 and self.signs <= set("-. ()+")


@dataclass(frozen=True)
class Pair:
    """A range (``3-5 cm``), score (``2-1``) or ratio (``2:1``)."""

    first: Fraction
    second: Fraction
    sign: str
    unit: Unit | None = None

    def agrees(self, other: Pair) -> bool:
        same_unit = self.unit is None or other.unit is None or self.unit == other.unit
        return (self.first, self.second) == (other.first, other.second) and same_unit


Mark = Clock | Date | Code | Pair

_CLOCK = re.compile(r"(\d{1,2})(?:(?:[:.]|h)(\d{2})(?::(\d{2}))?)? ?(am|pm|o'? ?clock)?", re.IGNORECASE)
_PAST = re.compile(r"(?:an? )?(half|quarter|[a-z -]+|\d{1,2})(?: minutes?)? (past|after|to|before) ([a-z]+|\d{1,2})")
_PART_OF_DAY = re.compile(r" (?:in the (morning|afternoon|evening)|at (night))$")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_WEEKDAY = re.compile(r"^(?:mon|tues|wednes|thurs|fri|satur|sun)day,? (?=.*\d)")
_NAMED_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_MONTH}\.? (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year>\d{{4}}))?",
        rf"(?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[ -](?:of )?{_MONTH}\.?(?:,?[ -](?P<year>\d{{4}}))?",
        rf"(?P<year>\d{{4}}),? {_MONTH}\.? (?P<day>\d{{1,2}})",
        rf"{_MONTH}\.?,? (?:of )?(?P<year>\d{{4}})",
    )
)
_NUMERIC_DATE = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})")
_MONTH_OF_YEAR = re.compile(r"(\d{1,2})/(\d{4})")
_CODE = re.compile(
    r"\+? ?\(?\d+\)?(?:(?:[-/.:]| ?[-:] ?|(?<=\)) ?| )\(?\d+\)?){2,}|\(\d{3}\) ?\d{3}[- ]?\d{4}|\d{3}[-.]\d{4}|\+\d{7,}"
)
_PAIR = re.compile(
    r"(?:between|from) (?P<start>.+?) (?:and|to|through) (?P<end>.+)"
    r"|(?P<first>[^A-Za-z]*\d.*?)(?P<sign> ?- ?| ?: ?| to )(?P<second>\D{0,2}\d.*)"
)
# Thousands and mixed numbers, which are not codes.
_SPACED_NUMBER = re.compile(r"\d{1,3}(?: \d{3})+|\d+ \d+ ?/ ?\d+")
_RATIO = re.compile(r"(?:\\frac\{(\d+)\}\{(\d+)\}|(\d+) ?/ ?(\d+))")


def mark(text: str) -> Mark | None:
    """Read plain ``text`` as a time, date, range, score, ratio or code, or return ``None``."""
    if len(text) > 60:
        return None
    lower = text.casefold()
    return _clock(lower) or _date(lower) or _code(text) or _pair(text)


def same_mark(gold: Mark, other: Mark | None, text: str) -> bool:
    """Return whether ``other``, the mark in ``text`` if it has one, is the same as ``gold``."""
    match gold, other:
        case (Clock(), None):
            spoken = _spoken_clock(text.casefold(), "", is_time=not re.search(r"\d", text))
            return spoken is not None and gold.agrees(spoken)
        case (Clock(), Clock()):
            return gold.agrees(other)
        case (Code(), Code()):
            return gold.agrees(other)
        case (Pair(), Pair()):
            return gold.agrees(other)
        case (Date(), Date()):
            return gold == other
        case (Date(day=0, year=year), None) if year:
            # "March 2020" is 03/2020, which alone could be a fraction.
            numeric = _MONTH_OF_YEAR.fullmatch(text)
            return numeric is not None and (int(numeric[1]), int(numeric[2])) == (gold.month, year)
        case (Code(), None):
            return gold.is_phone and gold.digits == re.sub(r"[ +]", "", text)
        case (Pair(sign=":" | "to"), None):
            # A ratio may be written as a fraction, with the same numbers.
            ratio = _RATIO.fullmatch(text)
            return ratio is not None and [str(gold.first), str(gold.second)] == [
                group for group in ratio.groups() if group
            ]
    return False


def _clock(text: str) -> Clock | None:
    text = re.sub(r"\b([ap])\.? ?m\b\.?", r"\1m", text)
    half = ""
    if part := _PART_OF_DAY.search(text):
        half, text = ("am" if part[1] == "morning" else "pm"), text[: part.start()]
    if text in ("noon", "midday", "12 noon", "midnight", "12 midnight"):
        return Clock(12, 0, 0, "am" if "night" in text else "pm")
    if match := _CLOCK.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in match.groups()[:3])
        suffix = match[4] or ""
        half = half or (suffix if suffix in ("am", "pm") else "")
        # A bare "9" or "9.45" is a number.
        if (match[2] is None or ":" not in text) and not (suffix or half):
            return None
        return Clock(hour, minute, second, half) if hour <= 24 and minute < 60 and second < 60 else None
    return _spoken_clock(text, half)


def _spoken_clock(text: str, half: str, *, is_time: bool = False) -> Clock | None:
    match = _PAST.fullmatch(text.removesuffix(" o'clock"))
    if match is None:
        return None
    fixed = {"half": Fraction(30), "quarter": Fraction(15)}
    minutes, hour = fixed.get(match[1]) or number(match[1]), number(match[3])
    # "5 to 10" is a range, and so is "five to ten" unless it is compared with a time.
    spoken = is_time or match[1] in fixed or "minute" in text or match[2] in ("past", "after")
    if minutes is None or hour is None or not spoken or not (0 < minutes < 60 and 0 < hour <= 12):
        return None
    later = match[2] in ("past", "after")
    at = int(hour) if later else (int(hour) - 2) % 12 + 1
    return Clock(at, int(minutes) if later else 60 - int(minutes), 0, half)


def _date(text: str) -> Date | None:
    text = _WEEKDAY.sub("", text)
    for pattern in _NAMED_DATES:
        if match := pattern.fullmatch(text):
            parts = match.groupdict()
            month = next(group for group in match.groups() if group and group[:3] in _MONTHS)
            return _valid(int(parts.get("year") or 0), _MONTHS.index(month[:3]) + 1, int(parts.get("day") or 0))
    match = _NUMERIC_DATE.fullmatch(text)
    if match is None:
        return None
    first, second, third = int(match[1]), int(match[3]), int(match[4])
    if len(match[1]) == 4:
        return _valid(first, second, third) if len(match[4]) <= 2 else None
    if len(match[4]) != 4:
        return None
    readings = [(third, first, second), (third, second, first)]
    valid = [date for date in (_valid(*reading) for reading in readings) if date is not None]
    if len(valid) == 2 and first != second:
        return Date(third, 0, 0, f"{first}/{second}")
    return valid[0] if valid else None


def _valid(year: int, month: int, day: int) -> Date | None:
    return Date(year, month, day) if 1 <= month <= 12 and 0 <= day <= 31 else None


def _code(text: str) -> Code | None:
    if not _CODE.fullmatch(text) or _SPACED_NUMBER.fullmatch(text):
        return None
    signs = frozenset(re.sub(r"\d", "", text))
    # Numbers with nothing but spaces between them are a list.
    if signs == {" "}:
        return None
    return Code(tuple(re.findall(r"\d+", text)), signs - {" "} or signs)


def _pair(text: str) -> Pair | None:
    match = _PAIR.fullmatch(text)
    if match is None:
        return None
    first = leading_number(match["first"] or match["start"])
    second = leading_number(match["second"] or match["end"])
    if first is None or second is None or (first[0] < 0 and match["sign"] and "to" not in match["sign"]):
        return None
    units = [_unit(rest) for _, rest in (first, second)]
    if None in units:
        return None
    known = [unit for unit in units if unit is not None and not unit.is_none]
    sign = (match["sign"] or "to").strip()
    return Pair(first[0], second[0], sign, known[-1] if known else None)


def _unit(rest: str) -> Unit | None:
    rest = rest.strip()
    return measure(rest) if rest else Unit()
