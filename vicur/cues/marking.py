"""Mark the answer in a clause, in whatever notation it is stated, so that rules are patterns about one sign.

``AC = \\frac{26}{2}`` becomes ``ac = ANSWER`` for the answer 13, and ``x = 25 - 12`` becomes ``x = STEP``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from vicur.answers.compare import same_value
from vicur.answers.units import Unit, measure
from vicur.cues.arithmetic import Calculation, calculations
from vicur.cues.plain_text import Clause
from vicur.cues.posed import Gold, Subject
from vicur.cues.spoken import spoken_values
from vicur.cues.statements import canonical
from vicur.cues.wordings import contains, content, stem, stems

ANSWER, STEP = "\ue000", "\ue001"
"""Stand for the answer, and for a calculation whose result is the answer."""

_CLOCK = re.compile(r"\d+:\d{2}(?::\d{2})?(?!\d)")
_PIECE = re.compile(r"[^\W_]+(?:[.,]\d+)*", re.UNICODE)
_MARKS = re.compile(
    r"\d{1,2}(?:[:.]|h)\d{2}(?: ?[ap]\.?m\.?)?|\d{1,2} ?(?:[ap]\.?m\.?|o'clock)|(?:a )?(?:half|quarter|[a-z]+"
    r"|\d{1,2})(?: minutes?)? "
    r"(?:past|to|before|after) (?:[a-z]+|\d{1,2})|\d+(?:\.\d+)? ?(?:-|:|to) ?\d+(?:\.\d+)?(?: [a-z]+)?"
    r"|(?:[a-z]+\.? )?\d{1,4}(?:st|nd|rd|th)?[ ,/.-]+(?:of )?(?:[a-z]+|\d{1,2})[ ,/.-]*\d{0,4}|\d+(?:[-./ ]\d+){2,}",
    re.IGNORECASE,
)
_FORMULA = re.compile(
    r"(?:(?:\\[A-Za-z]{1,8}|[A-Za-z]{1,6}(?=[(^_=])|(?<![A-Za-z])[A-Za-z]{1,2}(?![A-Za-z])|\d+(?:\.\d+)?"
    r"|[-+*/^=(){}\[\],.<>≤≥±√π°|'])\s?+){2,60}+"
)
_MOST_FORMULAS = 12
_UNIT = re.compile(r"(?:[ -]?(?:[A-Za-zμΩ°%][A-Za-zμΩ°]*)(?:[ /^*-]?(?:\{?-?\d\}?|[A-Za-zμΩ°]+)){0,3}| ?[°%])")
_PAIRS = re.compile(r"(?<![\d:])\d+(?:\.\d+)? ?(?::|to) ?\d+(?:\.\d+)?(?![\d:])")
_ORDERS = re.compile(
    r"\b(?P<verb>multipl|divid|subtract|add|deduct|tak)(?:y|e|ing"
    r"|ying)?\b(?P<first>(?:\s+[^\W\d]+){0,5}?\s+[$€£]?(?P<a>\d[\d,]*(?:\.\d+)?))(?P<gap>\D{1,40}?)"
    r"(?P<b>\d[\d,]*(?:\.\d+)?)(?![\d.]*\s*(?:and|,|plus)\s*\d)",
    re.IGNORECASE,
)
# Scripts without spaces between words.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
# "Frame 4", "row 2": such numbers are names.
_NUMBERED = re.compile(
    r"\b(?:frames?|rows?|columns?|figures?|fig\.?|pages?|steps?|lines?|questions?|panels?|parts?|chapters?|sections?"
    r"|exercises?|problems?"
    r"|scenes?|slides?|no\.?|boxes|boxs?|examples?)\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Marked:
    """A clause with the answer marked."""

    clause: Clause
    subject: Subject

    @cached_property
    def numbers(self) -> list[tuple[Calculation, Unit, int]]:
        """Numbers and calculations of the clause, with their unit and the end of the unit."""
        return [(each, *_unit_behind(self.clause.plain, each)) for each in calculations(self.clause.plain)]

    @cached_property
    def text(self) -> str:
        """The clause in canonical form with signs for the answer."""
        plain, gold = self.clause.plain, self.subject.gold
        spans = self._spans(plain, gold)
        if not spans:
            return self.clause.lower if len(plain) < 8 else canonical(plain)
        parts, start = [], 0
        for begin, end, sign in spans:
            if begin >= start:
                parts += [canonical(plain[start:begin]), f" {sign} "]
                start = end
        parts.append(canonical(plain[start:]))
        return re.sub(
            r"\s+", " ", "".join(part if part.strip() in (ANSWER, STEP) else _padded(part) for part in parts)
        ).strip()

    @cached_property
    def stems(self) -> tuple[str, ...]:
        return stems(self.clause.plain)

    @cached_property
    def content(self) -> frozenset[str]:
        return content(self.clause.plain)

    @cached_property
    def stated_numbers(self) -> tuple[float, ...]:
        """The numbers with which the clause states the answer, which may be in another unit."""
        gold = self.subject.gold
        return tuple(
            each.value for each, unit, _ in self.numbers if gold.is_value(each.value, None if each.operations else unit)
        )

    @property
    def has_answer(self) -> bool:
        return ANSWER in self.text

    @property
    def overlap(self) -> float:
        """Share of the question's content words, without those of the answer, that the clause repeats."""
        about = self.subject.about - set(self.subject.gold.stems)
        return len(about & self.content) / len(about) if about else 0.0

    def _spans(self, plain: str, gold: Gold) -> list[tuple[int, int, str]]:
        if gold.value is not None or gold.quantity is not None:
            return self._number_spans(plain, gold)
        if gold.mark is not None:
            found = (
                (each.start(), each.end(), ANSWER)
                for each in _MARKS.finditer(plain)
                if same_value(gold.text, each[0].strip())
            )
            return list(found) or _word_spans(plain, gold)
        if gold.is_words or len(gold.text) < 3:
            return _word_spans(plain, gold)
        return _formula_spans(plain, gold) or _word_spans(plain, gold)

    def _is_name(self, before: str) -> bool:
        """Return whether the word before a number makes it a name, unless the question requests that number ("the page number")."""
        match = _NUMBERED.search(before)
        noun = match[0].strip().casefold() if match else ""
        return (
            bool(noun)
            and re.search(rf"\b(?:{re.escape(noun)}\s+number|which\s+{re.escape(noun)})\b", self.subject.question)
            is None
        )

    def _number_spans(self, plain: str, gold: Gold) -> list[tuple[int, int, str]]:
        clocks = [match.span() for match in _CLOCK.finditer(plain)]
        found = []
        for each, unit, end in self.numbers:
            inside = any(start <= each.start < stop for start, stop in clocks)
            if (
                inside
                or not gold.is_value(each.value, None if each.operations else unit)
                or self._is_name(plain[max(0, each.start - 20) : each.start])
            ):
                continue
            found.append((each.start, end, STEP if each.operations > gold.operations else ANSWER))
        pairs = (
            (each.start(), each.end(), ANSWER) for each in _PAIRS.finditer(plain) if same_value(gold.text, each[0])
        )
        orders = (
            (match.start(), match.end(), STEP)
            for match in _ORDERS.finditer(plain)
            if any(gold.is_value(value) for value in _ordered(match))
        )
        spoken = (
            (each.start, each.end, STEP if each.is_step else ANSWER)
            for each in spoken_values(plain, [number for number, _, _ in self.numbers])
            if gold.is_value(each.value)
        )
        return sorted([*found, *pairs, *orders, *spoken], key=lambda span: (span[0], -span[1]))


def _ordered(match: re.Match[str]) -> tuple[float, ...]:
    """Return the results of "subtract 17 from 31" or "multiply the base 12 by the height 8"."""
    a, b = (float(match[name].replace(",", "")) for name in ("a", "b"))
    match match["verb"].casefold():
        case "multipl":
            return (a * b,)
        case "divid":
            return (*((a / b,) if b else ()), *((b / a,) if a else ()))
        case "add":
            return (a + b,)
        case _:
            return (a - b, b - a)


def _padded(part: str) -> str:
    return f" {part} "


def _unit_behind(plain: str, each: Calculation) -> tuple[Unit, int]:
    """Return the unit of measurement behind a number, and where it ends."""
    match = _UNIT.match(plain, each.end)
    if match is None:
        # The calculation may have read a unit itself.
        inner = re.search(r"(?<=\d) ?([°%]|[A-Za-zμΩ][\w/^{}]*)$", plain[each.start : each.end])
        unit = measure(inner[1]) if inner and not each.operations else None
        return (unit or Unit(), each.end)
    text = match[0]
    while text:
        unit = measure(text.strip(" -"))
        if unit is not None:
            return unit, each.end + len(text)
        shorter = re.match(r"(.+)[ /^*-]", text)
        text = shorter[1] if shorter else ""
    return Unit(), each.end


def _word_spans(plain: str, gold: Gold) -> list[tuple[int, int, str]]:
    wanted = gold.stems
    if not wanted or len(wanted) > 40:
        return []
    if _UNSPACED.search(gold.text):
        return [(match.start(), match.end(), ANSWER) for match in re.finditer(re.escape(gold.text), plain)]
    pieces = list(_PIECE.finditer(plain))
    lone = len(wanted) == 1 and len(wanted[0]) == 1
    found = [
        stem(piece[0].casefold().replace(",", "")) if not lone or piece[0] == gold.text.strip("()") else ""
        for piece in pieces
    ]
    spans, start = [], 0
    short = tuple(
        word
        for n, word in enumerate(wanted)
        if n or word not in ("h", "he", "sh", "she", "they", "it", "th", "the", "a", "an")
    )
    for part in dict.fromkeys((wanted, short)):
        start = 0
        while part and (at := contains(found[start:], part)) is not None:
            begin, end = start + at, start + at + len(part)
            spans.append((pieces[begin].start(), pieces[end - 1].end(), ANSWER))
            start = end
        if spans:
            break
    return spans


def _formula_spans(plain: str, gold: Gold) -> list[tuple[int, int, str]]:
    spans = []
    for match in islice(_FORMULA.finditer(plain), _MOST_FORMULAS):
        start, text = match.start(), match[0]
        # Words before a formula ("line is y = 2x") are cut off one by one.
        for _ in range(6):
            bare = text.strip(" .,")
            if bare and (len(bare) >= len(gold.text) / 2) and same_value(gold.text, bare):
                spans.append((start, match.end(), ANSWER))
                break
            _, space, rest = text.lstrip().partition(" ")
            if not space:
                break
            start = match.end() - len(rest)
            text = rest
    return spans
