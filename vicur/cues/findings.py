"""All findings of the audit about one cue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from vicur.cues.grounding import MISSING, Grounding, check_grounding
from vicur.cues.injections import find_injections
from vicur.cues.leaks import find_leaks
from vicur.cues.posed import Posed
from vicur.cues.solutions import find_solutions
from vicur.cues.unusable import find_unusable

Label = Literal["answer_leak", "solution_leak", "ungrounded", "injected", "unusable"]
LABELS: tuple[Label, ...] = get_args(Label)
"""What a cue can be found to be."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a cue: the label, the violated rule, and the part of the cue that violates it."""

    label: Label
    rule: str
    clause: str
    start: int = 0
    end: int = 0


# Texts that describe nothing are not checked as descriptions.
_NO_DESCRIPTION = ("refusal", "prompt", "empty", "code", "instruction", "thinking", "control token")


def examine(cue: str, example: Posed) -> tuple[tuple[Finding, ...], Grounding]:
    """Return all findings about ``cue`` and the result of the grounding check. Accepts any text."""
    leaks = [Finding("answer_leak", each.rule, each.clause, each.start, each.end) for each in find_leaks(cue, example)]
    unusable = [
        *(Finding("injected", each.rule, each.clause, each.start, each.end) for each in find_injections(cue)),
        *(Finding("unusable", each.rule, each.clause, each.start, each.end) for each in find_unusable(cue, example)),
    ]
    described = not any(each.rule in _NO_DESCRIPTION for each in unusable)
    solutions = [
        Finding("solution_leak", each.rule, each.clause, each.start, each.end)
        for each in (find_solutions(cue, example) if described else ())
    ]
    found = [*leaks, *solutions, *unusable]
    # A solution has numbers that nobody reads from the image.
    grounding = check_grounding(cue, example, [(0, len(cue))] if leaks or solutions else ())
    if grounding.grounded is False and described and (grounding.rule != MISSING or not found):
        found.append(_ungrounded(cue, grounding))
    return tuple(found), grounding


def _ungrounded(cue: str, grounding: Grounding) -> Finding:
    place = grounding.clause
    text, start, end = (place.text.strip(), place.start, place.end) if place else (cue.strip()[:200], 0, len(cue))
    return Finding("ungrounded", grounding.rule or "", text, start, end)
