"""What a comparison says in words, and no more than it measured.

A difference whose interval includes zero is called a tie. What two students differ in beside the method's name is
part of the sentence, so that nothing is put down to cue recovery, or to the cue, that belongs to both.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from vicur.config.evaluation import CHOICE_SPLIT, REPORT_SPLIT
from vicur.evaluation.comparison import Aspect, Comparison, PairComparison
from vicur.evaluation.statistics import Difference

_SPLIT_NAMES = {"test": "test", "ood": "out-of-domain", "validation": "validation"}
_EFFECT_OF: dict[Aspect, str] = {
    "privilege": "the privilege",
    "cue recovery": "cue recovery",
    "teacher": "the teacher",
    "objective": "the objective",
    "what is trained": "training other weights",
    "other settings": "those settings",
}


class Verdict(BaseModel):
    """What is claimed, and what it rests on or how it is to be taken."""

    outcome: Literal["better", "worse", "tie", "note"]
    claim: str
    """One sentence."""
    detail: str = ""
    """The interval, and further sentences; may be empty."""
    about: list[str] = []
    """The students that it compares; of a note none."""

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.claim} {self.detail}".strip()


def percent(share: float) -> str:
    """``0.724`` as ``72.4 %``."""
    return f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A signed difference in percentage points: ``+10.7``. Two decimals where one would show a zero that it isn't."""
    digits = 2 if share and abs(share) < 0.0005 else 1
    return f"{100 * share:+.{digits}f}".replace("-", "−")


def interval(difference: Difference, confidence: float) -> str:
    """``95 % interval +8.9 to +12.4``."""
    return f"{100 * confidence:g} % interval {points(difference.low)} to {points(difference.high)}"


def verdicts(comparison: Comparison) -> list[Verdict]:
    """What the comparison says: the chosen student first, the others, pairs, what was not measured, and the choice."""
    chosen = comparison.choice.method
    methods = [chosen, *(m for m in comparison.students if m != chosen)]
    found = [_against_base(comparison, method, REPORT_SPLIT) for method in methods]
    found += [
        _against_base(comparison, method, split)
        for split in comparison.base_accuracy
        if split not in (REPORT_SPLIT, CHOICE_SPLIT)
        for method in methods
    ]
    found += [_between(comparison, pair) for pair in comparison.pairs]
    return [*found, *_not_measured(comparison), _choice(comparison)]


def _against_base(comparison: Comparison, method: str, split: str) -> Verdict:
    found = comparison.students[method].splits[split]
    name = _SPLIT_NAMES.get(split, split)
    outcome = found.difference.verdict
    if outcome == "tie":
        scores = f"{percent(found.accuracy)} against {percent(found.base_accuracy)}"
        claim = f"{method} and its base tie on the {name} questions: {scores}."
    else:
        claim = f"{method} answers {percent(found.accuracy)} of the {name} questions, {_change(found.difference)} than its base."
    detail = _sure(found.difference, comparison.confidence)
    return Verdict(outcome=outcome, claim=claim, detail=detail, about=[method])


def _between(comparison: Comparison, pair: PairComparison) -> Verdict:
    difference = pair.splits[REPORT_SPLIT]
    outcome = difference.verdict
    if outcome == "tie":
        claim = f"{pair.first} and {pair.second} tie on the test questions."
    else:
        claim = f"{pair.first} answers {_change(difference)} of the test questions than {pair.second}."
    told = {comparison.students[name].model.privilege for name in (pair.first, pair.second)}
    detail = f"{_sure(difference, comparison.confidence)} {_cause(pair, outcome, cue='cue' in told)}"
    return Verdict(outcome=outcome, claim=claim, detail=detail, about=[pair.first, pair.second])


def _change(difference: Difference) -> str:
    return f"{abs(100 * difference.mean):.1f} points {'more' if difference.mean > 0 else 'fewer'}"


def _sure(difference: Difference, confidence: float) -> str:
    """``95 % interval +7.3 to +13.8.``; of a tie with the mean, which no claim has told."""
    sure = interval(difference, confidence)
    if difference.verdict == "tie":
        return f"{points(difference.mean)} points, {sure}, which includes zero."
    return f"{sure}."


def _cause(pair: PairComparison, outcome: str, *, cue: bool) -> str:
    """What a difference, or the lack of one, may be put down to.

    Args:
        pair: the two students.
        outcome: what was found.
        cue: whether the teacher of one of them knew the cue.
    """
    if not pair.differ_in:
        return "They differ in nothing that is set."
    *others, last = pair.differ_in
    if others:
        together = "the two together, not of either" if len(others) == 1 else "all of them together, not of any one"
        return f"They differ in {', in '.join(others)} and in {last}: this is the effect of {together}."
    effect = "the cue as privilege" if last == "privilege" and cue else _EFFECT_OF[last]
    if outcome == "tie":
        return f"They differ in {pair.differ_in[0]} alone: no effect of {effect} was measured."
    return f"They differ in {pair.differ_in[0]} alone: this is the effect of {effect} in this run."


def _not_measured(comparison: Comparison) -> list[Verdict]:
    """Says what the run leaves open about cue recovery, where a student has the module."""
    has_module = any(student.model.cue_recovery is not None for student in comparison.students.values())
    if not has_module or any(pair.differ_in == ["cue recovery"] for pair in comparison.pairs):
        return []
    claim = "What cue recovery does by itself was not measured: no two students of this run differ in it alone."
    return [Verdict(outcome="note", claim=claim)]


def _choice(comparison: Comparison) -> Verdict:
    choice = comparison.choice
    if len(choice.accuracy) == 1:
        return Verdict(outcome="note", claim=f"{choice.method} is the only student of this run: nothing was chosen.")
    others = ", ".join(f"{m} {percent(a)}" for m, a in choice.accuracy.items() if m != choice.method)
    claim = (
        f"{choice.method} was chosen on the {_SPLIT_NAMES.get(choice.split, choice.split)} questions "
        f"({percent(choice.accuracy[choice.method])} against {others}); the test questions had no part in it."
    )
    tied = " and ".join(choice.tied_with)
    detail = f"There it ties with {tied}: the interval of the difference includes zero." if tied else ""
    return Verdict(outcome="note", claim=claim, detail=detail)
