"""Check whether a cue agrees with what is known about the image: listed evidence, the scene's content, the text in the image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vicur.answers import evidence_is_right
from vicur.cues.evidence_text import normal_values, stated_values
from vicur.cues.marking import Marked
from vicur.cues.plain_text import Clause, clauses_of
from vicur.cues.posed import Posed, Subject, Visible, subject_of, visible_of
from vicur.cues.statements import canonical, clauses, stated_evidence, statement, truths
from vicur.cues.wordings import contains, content, stem, stems, tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_READ = re.compile(
    r"\b(?:labell?ed|labels?|marked|marks?|reads?|says?|written|printed|titled|shows?|showing|displays?|lists?"
    r"|numbers?|base|height|radius|side|length|width)\b"
)
_ABOUT = re.compile(
    r"\b(?:about|around|roughly|approximately|approx\.?|nearly|almost|some|between|near|circa|close\s+to"
    r"|just\s+(?:under|over|above|below))\s*$|[≈~]\s*$",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"“]([^\"”]{2,200})[\"”]")
_CLOCK = re.compile(r"\d+:\d{2}")
_NAMES_A_PLACE = re.compile(
    r"\b(?:frames?|rows?|columns?|figures?|lines?|steps?|at|seconds?|panels?|parts?|no\.?|numbers?)\s*$|[#\d–-]$",
    re.IGNORECASE,
)
_QUOTE_SHARE = 0.75
MISSING = "evidence is missing"
"""Rule of cues that do not state the listed evidence."""


@dataclass(frozen=True)
class Grounding:
    """Result of the check. ``grounded`` is ``None`` if nothing is known about the image that the cue states something about."""

    grounded: bool | None
    rule: str | None = None
    """What is wrong with a cue that is not grounded."""
    clause: Clause | None = None
    """The clause that is false; ``None`` if something is missing."""


def is_grounded(cue: str, example: Posed) -> bool | None:
    """Return whether ``cue`` states all evidence that its question needs and nothing false about the image.

    Returns ``None`` if the example has no truth to compare with. Statements about anything unknown to the dataset are not checked.
    """
    return check_grounding(cue, example).grounded


def check_grounding(cue: str, example: Posed, derived: Collection[tuple[int, int]] = ()) -> Grounding:
    """Check ``cue`` against the listed evidence and the scene, or, without these, against the text in the image.

    ``derived`` are the places of clauses that belong to a solution: their numbers are not read from the image.
    """
    known = truths(example)  # type: ignore[arg-type]
    if known:
        return _by_evidence(cue, example, known)
    visible = visible_of(example)
    return (
        _by_text(cue, subject_of(example), visible, derived)
        if visible.text and visible.text.strip()
        else Grounding(None)
    )


def _by_evidence(cue: str, example: Posed, known: Mapping[str, tuple[str, ...]]) -> Grounding:
    for clause in clauses(canonical(cue)):
        stated = statement(clause)
        # Beyond the evidence, no other known part of the image (a different row, say) may be misread.
        if stated is not None and stated.subject in known and stated.values != known[stated.subject]:
            if _means(stated.values, known[stated.subject]):
                continue
            return Grounding(False, "contradicts the evidence", _find(clause, cue))
    complete = evidence_is_right(cue, example)
    if complete:
        return Grounding(True)
    required = stated_evidence(example)  # type: ignore[arg-type]
    found = {subject: _states(cue, subject, values) for subject, values in (required or known).items()}
    if any(agrees is False for agrees in found.values()):
        return Grounding(False, "contradicts the evidence")
    # Without listed evidence, one true statement about a known part of the image is enough.
    enough = all(found.values()) if required else any(found.values())
    return Grounding(True) if enough else Grounding(False, MISSING)


def _states(cue: str, subject: str, values: tuple[str, ...]) -> bool | None:
    """Return whether a cue states the values of a subject, or ``None`` if it does not mention them."""
    numeric = all(re.fullmatch(r"-?\d+(?:\.\d+)?%?", value) for value in values)
    agreed: bool | None = None
    for clause in clauses_of(cue):
        if numeric:
            for stated in stated_values(clause.lower, subject, len(values)):
                if normal_values(stated) != normal_values(values):
                    return False
                agreed = True
            # "The value for Ann is 31; for Bob it is 17."
            if agreed is None and content(subject) and content(subject) <= content(clause.text):
                numbers = re.findall(r"-?\d+(?:\.\d+)?", clause.lower)
                if all(value.removesuffix("%") in numbers for value in values) and not (
                    set(numbers) - set(values) - set(tokens(subject))
                ):
                    agreed = True
        elif content(subject) <= content(clause.text) and all(
            contains(stems(clause.text), stems(value)) is not None for value in values
        ):
            agreed = True
    return agreed


def _means(stated: tuple[str, ...], known: tuple[str, ...]) -> bool:
    """Return whether values are the same but for units and percent signs."""
    return len(stated) == len(known) and all(
        a.removesuffix("%") == b.removesuffix("%") or stems(a) == stems(b) for a, b in zip(stated, known, strict=True)
    )


def _find(clause: str, cue: str) -> Clause | None:
    return next((each for each in clauses_of(cue) if each.lower == clause), None)


def _by_text(cue: str, subject: Subject, visible: Visible, derived: Collection[tuple[int, int]]) -> Grounding:
    """Check what a cue claims to read: quotations and numbers have to occur in the text of the image."""
    checked = False
    for clause in clauses_of(cue):
        if any(start < clause.end and clause.start < end for start, end in derived):
            continue
        for quotation in _QUOTED.findall(clause.text):
            words = content(quotation)
            if not words or visible.has_formula(quotation):
                checked = True
                continue
            checked = True
            if len(words & set(visible.stems)) < _QUOTE_SHARE * len(words):
                return Grounding(False, "not in the image's text", clause)
        if any(character.isdigit() for character in visible.text or ""):
            for number in _claimed(clause, subject):
                checked = True
                if not (visible.has_number(number) or visible.has_number(-number)):
                    return Grounding(False, "not in the image's text", clause)
    return Grounding(True if checked else None)


def _claimed(clause: Clause, subject: Subject) -> list[float]:
    """Return the numbers that a clause claims to read: not counts, estimates, times of a video, or results."""
    marked = Marked(clause, subject)
    plain = clause.plain
    clocks = [match.span() for match in _CLOCK.finditer(plain)]
    found = []
    for each, unit, end in marked.numbers:
        text = plain[each.start : each.end]
        if each.operations or (not text[:1].strip("-$€£.").isdigit() and not re.match(r"[-$€£.]\s?\d", text)):
            continue
        before = plain[: each.start].rstrip()
        estimated = (
            _ABOUT.search(before)
            or _NAMES_A_PLACE.search(before)
            or any(start <= each.start < stop for start, stop in clocks)
        )
        if estimated or subject.gold.is_value(each.value, unit):
            continue
        named = re.search(
            r"([^\W\d_]+)(?:\s+(?:has|have|had|is|at|of|with|was|got|gets|scores?|reads|to))?\s*$", before
        )
        is_read = (
            (named is not None and stem(named[1].casefold()) in subject.visible.stems)
            or not unit.is_none
            or before.endswith(("=", ":", "|"))
            or len(re.sub(r"\D", "", text)) >= 3
            or "." in text
        )
        counts = unit.is_none and re.match(r"\s+[a-z]+s\b", plain[end : end + 20]) is not None and each.value <= 20
        if not counts and (is_read or _READ.search(marked.clause.lower)):
            found += [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text.replace(",", ""))]
    return found
