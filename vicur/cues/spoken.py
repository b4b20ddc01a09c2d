"""Find numbers that belong together across words: "20 dollars and fifty cents", "two red plus three blue birds", "rise 2 over run 3"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vicur.cues.arithmetic import Calculation

_CURRENCY = re.compile(r"\s*(?:dollars?|euros?|pounds?|francs?)\s*,?\s*(?:and\s*)?", re.IGNORECASE)
_COINS = re.compile(r"\s*(?:cents?|pence|centimes?)\b", re.IGNORECASE)
_THINGS = r"(?:\s+[^\W\d]+){1,3}"
_ADDED = re.compile(
    rf"{_THINGS}\s+(?:plus|and\s+another|and\s+an\s+additional|added\s+to|together\s+with)\s+", re.IGNORECASE
)
_AND = re.compile(rf"{_THINGS},?\s+and\s+", re.IGNORECASE)
_MORE = re.compile(r"\s+(?:[^\W\d]+\s+)?more\b", re.IGNORECASE)
_TAKEN = re.compile(rf"{_THINGS}\s+(?:minus|less|without)\s+(?:the\s+)?", re.IGNORECASE)
_NOUNS = re.compile(rf"{_THINGS}\s+", re.IGNORECASE)
_JOIN = re.compile(rf"(?:\s*[%°]|{_THINGS})?\s*,?\s*and\s+(?:the\s+)?", re.IGNORECASE)
_TOGETHER = re.compile(
    r"\s*(?:[%°]|[^\W\d]+)?\s*(?:added|summed|combined|put\s+together|taken\s+together)\b", re.IGNORECASE
)
_FROM = re.compile(r"\bfrom\s+(?:the\s+)?$", re.IGNORECASE)
_TAKE = re.compile(
    r"\W*(?:[^\W\d]+\s+)?(?:you\s+)?(?:subtract|take(?:\s+away)?|deduct|remove)\s+(?:the\s+)?", re.IGNORECASE
)
_RUN = re.compile(
    r"\s*(?:units?\s*)?(?:,|over|and|for|per|to)\s*(?:an?\s+|the\s+)?run\s*(?:of\s+|is\s+|=\s*)?", re.IGNORECASE
)
_RISE = re.compile(r"\b(?:rise|rises|rising)\s*(?:of|is|by|=)?\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Spoken:
    """The value of two numbers with the words between them, and their place."""

    value: float
    start: int
    end: int
    is_step: bool
    """Whether a calculation is left."""


def spoken_values(text: str, numbers: Sequence[Calculation]) -> Iterator[Spoken]:
    """Yield the values of neighbouring numbers of a plain text that its words combine."""
    for first, second in pairwise(numbers):
        gap, behind = text[first.end : second.start], text[second.end : second.end + 40]
        before = text[max(first.start - 30, 0) : first.start]
        if len(gap) > 60:
            continue
        a, b = first.value, second.value
        if _CURRENCY.fullmatch(gap) and (coins := _COINS.match(behind)):
            yield Spoken(a + b / 100, first.start, second.end + coins.end(), False)
        elif (
            _ADDED.fullmatch(gap)
            or (_AND.fullmatch(gap) and _MORE.match(behind))
            or (_JOIN.fullmatch(gap) and _TOGETHER.match(behind))
        ):
            yield Spoken(a + b, first.start, second.end, True)
        elif _TAKEN.fullmatch(gap) or (_FROM.search(before) and _TAKE.fullmatch(gap)):
            yield Spoken(a - b, first.start, second.end, True)
        elif b < 0 and _NOUNS.fullmatch(gap) and text[second.start : second.start + 5].lower() == "minus":
            yield Spoken(a + b, first.start, second.end, True)
        elif b and _RUN.fullmatch(gap) and _RISE.search(before):
            yield Spoken(a / b, first.start, second.end, False)
