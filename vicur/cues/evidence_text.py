"""Statements of evidence in the forms that people write: "The left column holds 7 and 5", "Left column: 7, 5", "Ann (31)", "31 for Ann"."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from vicur.cues.plain_text import Clause
from vicur.cues.statements import canonical, statement, truths

if TYPE_CHECKING:
    from vicur.cues.posed import Posed

_BETWEEN = (
    r"(?:'s)?(?:\s+(?:bars?|points?|values?|scores?|entry|entries|cells?|segments?|columns?|rows?|digits?|labels?))?"
    r"(?:\s*(?::|=|\||->|→|\(|-|–|—)\s*|\s+(?:is|are|was|were|holds?|contains?|shows?|has|have|reads?|says|equals?|at"
    r"|with|labell?ed|marked|"
    r"carries|stands\s+at|displays?|lists?|to|the|numbers?|values?|labels?|of|digits?|a|an|as|length|reaches|(?:is"
    r"|are)\s+(?:labell?ed|marked|given\s+as|shown\s+as|at))"
    r"(?=\s))*\s*[:=(]?\s*"
)
_ITEM = r"-?\d+(?:\.\d+)?%?|[^\W\d_]+(?:[ -][^\W\d_]+){0,2}"
_GAP = r"\s*(?:,\s*and|,|and|&|\||/|then|;)?\s*"


def is_evidence(clause: Clause, example: Posed) -> bool:
    """Return whether a clause is nothing but a statement about a subject that the dataset knows, with as many values as it has.

    The values need not be right: a misread value is ungrounded instead of a leak.
    """
    known = truths(example)  # type: ignore[arg-type]
    if not known:
        return False
    text = clause.lower
    stated = statement(text)
    if stated is not None and stated.subject in known:
        return len(stated.values) == len(known[stated.subject])
    # Several at once: "Ann: 31, Bob: 17".
    rest = text
    for subject in sorted(known, key=len, reverse=True):
        if subject in rest:
            rest = _one(subject, len(known[subject])).sub(" ", rest)
    return rest != text and not re.search(
        r"\w", re.sub(r"\b(?:and|the|while|but|for|it|value|values|in|table)\b|(?<=\s)is(?=\s)", "", rest)
    )


@lru_cache(maxsize=8192)
def _one(subject: str, count: int) -> re.Pattern[str]:
    values = _GAP.join([rf"(?:{_ITEM})"] * min(count, 12))
    number = _GAP.join([r"-?\d+(?:\.\d+)?%?"] * min(count, 12))
    name = rf"(?<!\w){re.escape(subject)}(?!\w)"
    return re.compile(
        rf"{name}{_BETWEEN}(?:{number})\)?(?!\w)|(?<!\w)(?:{number})\s*(?:for|in(?:\s+the)?|on|at|\()\s*{name}\)?"
        rf"|{name}\s*[:=]\s*(?:{values})(?!\w)"
    )


def stated_values(text: str, subject: str, count: int) -> list[tuple[str, ...]]:
    """Return the values that a canonical text states for a subject, in each of its statements."""
    found = []
    name = rf"(?<!\w){re.escape(subject)}(?!\w)"
    item = r"(-?\d+(?:\.\d+)?%?)"
    numbers = (_GAP).join([item] * min(count, 12))
    for match in re.finditer(
        rf"{name}{_BETWEEN}{numbers}(?!\w)|(?<![\w.,]){numbers}\s*(?:for|in|on|at)\s+(?:the\s+)?{name}", text
    ):
        found.append(tuple(group for group in match.groups() if group is not None))
    return found


def normal_values(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return values in canonical form, without percent signs."""
    return tuple(canonical(value).removesuffix("%").strip() for value in values)
