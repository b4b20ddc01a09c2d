"""State the conclusions of a comparison in sentences that claim no more than was measured.

A difference whose interval includes zero is called a tie, and so is one that is not significant among all comparisons on the same
questions (Holm's correction). A tie comes with the difference that the questions would have detected. The sentence about two students
names everything that they differ in, so that an effect is not attributed to cue recovery, or to the cue, if it may have another cause.
"""

from __future__ import annotations

from typing import Literal, assert_never

from pydantic import BaseModel

from vicur.config.evaluation import CHOICE_SPLIT, REPORT_SPLIT
from vicur.evaluation.comparison import Aspect, Comparison, PairComparison
from vicur.evaluation.significance import PairedTests
from vicur.evaluation.statistics import Difference
from vicur.wording import interval, percent, points

_SPLIT_NAMES = {"test": "test", "ood": "out-of-domain", "validation": "validation"}


class Verdict(BaseModel):
    """A claim with its evidence and limits, and the students that it is about (none for a note)."""

    outcome: Literal["better", "worse", "tie", "note"]
    claim: str
    """One sentence."""
    detail: str = ""
    """The interval and further sentences; may be empty."""
    about: list[str] = []

    @property
    def text(self) -> str:
        return f"{self.claim} {self.detail}".strip()


def verdicts(comparison: Comparison) -> list[Verdict]:
    """Return the verdicts of a comparison in the order of the report; the headline, about the chosen student, comes first."""
    chosen = comparison.choice.method
    methods = [chosen, *(m for m in comparison.students if m != chosen)]
    result = [_against_base(comparison, method, REPORT_SPLIT) for method in methods]
    # Validation is left out: the student was chosen on it, so its accuracy there is biased upwards.
    result += [
        _against_base(comparison, method, split)
        for split in comparison.base_accuracy
        if split not in (REPORT_SPLIT, CHOICE_SPLIT)
        for method in methods
    ]
    result += [_between(comparison, pair) for pair in comparison.pairs]
    return [*result, *_not_measured(comparison), _choice(comparison)]


def _against_base(comparison: Comparison, method: str, split: str) -> Verdict:
    compared = comparison.students[method].splits[split]
    name = _SPLIT_NAMES.get(split, split)
    outcome = _outcome(compared.difference, compared.tests, comparison.confidence)
    if outcome == "tie":
        scores = f"{percent(compared.accuracy)} compared with {percent(compared.base_accuracy)}"
        claim = f"{method} and its base tie on the {name} questions: {scores}."
    else:
        claim = (
            f"{method} answers {percent(compared.accuracy)} of the {name} questions correctly, "
            f"{_change(compared.difference)} than its base."
        )
    detail = _interval(compared.difference, compared.tests, comparison.confidence)
    return Verdict(outcome=outcome, claim=claim, detail=detail, about=[method])


def _between(comparison: Comparison, pair: PairComparison) -> Verdict:
    difference = pair.splits[REPORT_SPLIT]
    tests = pair.tests.get(REPORT_SPLIT)
    outcome = _outcome(difference, tests, comparison.confidence)
    if outcome == "tie":
        claim = f"{pair.first} and {pair.second} tie on the test questions."
    else:
        more = "more" if outcome == "better" else "less"
        claim = f"{pair.first} is {_size(difference)} {more} accurate on the test questions than {pair.second}."
    privileges = {comparison.students[name].model.privilege for name in (pair.first, pair.second)}
    cause = _cause(pair, outcome, with_cue="cue" in privileges)
    detail = f"{_interval(difference, tests, comparison.confidence)} {cause}"
    return Verdict(outcome=outcome, claim=claim, detail=detail, about=[pair.first, pair.second])


def _change(difference: Difference) -> str:
    return f"{_size(difference)} {'more' if difference.mean > 0 else 'fewer'}"


def _size(difference: Difference) -> str:
    # The sentence says "more" or "fewer" instead of a sign.
    return f"{points(abs(difference.mean)).removeprefix('+')} points"


def _outcome(difference: Difference, tests: PairedTests | None, confidence: float) -> Literal["better", "worse", "tie"]:
    """Return the outcome of a comparison. With several on the same questions, it must also hold after their correction."""
    return "tie" if _only_uncorrected(difference, tests, confidence) else difference.verdict


def _only_uncorrected(difference: Difference, tests: PairedTests | None, confidence: float) -> bool:
    if tests is None or tests.bootstrap_corrected is None or tests.comparisons < 2:
        return False
    return difference.verdict != "tie" and tests.bootstrap_corrected > 1 - confidence


def _interval(difference: Difference, tests: PairedTests | None, confidence: float) -> str:
    bounds = interval(difference.low, difference.high, confidence)
    mean, detects = points(difference.mean), ""
    if difference.detectable is not None:
        size = points(difference.detectable).removeprefix("+")
        detects = f" These questions detect a difference of {size} points four times out of five."
    if tests is not None and _only_uncorrected(difference, tests, confidence):
        return (
            f"{mean} points, {bounds}, which excludes zero, but not after Holm's correction for {tests.comparisons} comparisons "
            f"(p = {tests.bootstrap_corrected:.3f}).{detects}"
        )
    # The claim about a tie does not state the mean, so the detail does.
    if difference.verdict == "tie":
        return f"{mean} points, {bounds}, which includes zero.{detects}"
    return f"{bounds}."


def _cause(pair: PairComparison, outcome: str, *, with_cue: bool) -> str:
    """Return the settings to which a difference, or a tie, between two students can be attributed."""
    if not pair.differ_in:
        return "They have the same settings."
    *others, last = pair.differ_in
    # An effect can be attributed to a setting only if it is the only one that differs.
    if others:
        together = "the two together, not of either" if len(others) == 1 else "all of them together, not of any one"
        return f"They differ in {', '.join(others)} and {last}: this is the effect of {together}."
    effect = "the cue as privilege" if last == "privilege" and with_cue else _effect_of(last)
    if outcome == "tie":
        return f"They differ in {last} alone: no effect of {effect} was measured."
    return f"They differ in {last} alone: this is the effect of {effect} in this run."


def _effect_of(aspect: Aspect) -> str:
    match aspect:
        case "privilege":
            return "the privilege"
        case "cue recovery":
            return "cue recovery"
        case "teacher":
            return "the teacher"
        case "objective":
            return "the objective"
        case "what is trained":
            return "training other weights"
        case "other settings":
            return "those settings"
        case _:
            assert_never(aspect)


def _not_measured(comparison: Comparison) -> list[Verdict]:
    # Readers attribute the gain of a student with the module to the module, unless the report says otherwise.
    has_module = any(student.model.cue_recovery is not None for student in comparison.students.values())
    if not has_module or any(pair.differ_in == ["cue recovery"] for pair in comparison.pairs):
        return []
    claim = "The effect of cue recovery alone was not measured: no two students of this run differ only in it."
    return [Verdict(outcome="note", claim=claim)]


def _choice(comparison: Comparison) -> Verdict:
    choice = comparison.choice
    if len(choice.accuracy) == 1:
        claim = f"{choice.method} is the only student of this run, so none was chosen."
        return Verdict(outcome="note", claim=claim)
    others = ", ".join(f"{m} {percent(a)}" for m, a in choice.accuracy.items() if m != choice.method)
    claim = (
        f"{choice.method} was chosen on the {_SPLIT_NAMES.get(choice.split, choice.split)} questions "
        f"({percent(choice.accuracy[choice.method])} compared with {others}), without looking at the test questions."
    )
    tied = " and ".join(choice.tied_with)
    detail = f"It ties with {tied} there: the interval of the difference includes zero." if tied else ""
    return Verdict(outcome="note", claim=claim, detail=detail)
