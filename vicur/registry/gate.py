"""Whether a candidate becomes champion: a pure function of what was measured, with a sentence for each rule.

The rules, all of which must hold:

1. *Better than its base*: the mean gain is at least ``margin``, and the paired-bootstrap interval of the gain lies above
   zero. A gain that the test questions cannot tell from luck does not count.
2. *Not worse than the present champion* on the same questions. Two conditions hold for the difference, candidate minus
   champion. Its interval must not lie below zero: a candidate that is surely worse is refused, by however little. And
   the interval must not reach below ``-champion_tolerance`` (a non-inferiority test): a test too small to rule out a
   real loss lets no candidate pass, so a row of promotions on weak evidence cannot wear the champion down.
3. *Hint leakage*: the share of responses that speak of a hint is at most ``max_leak_share``.
4. *Limits*: each figure that ``limits`` names is within its limit. If the evaluation lacks
   the figure, the candidate is refused, because nothing is known about it.
5. *No way back*: a version that was champion once and was rolled back or superseded returns by hand only. Running an
   old pipeline again must not undo what was decided since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel

from vicur.config.registry import FigureLimit, GateConfig
from vicur.evaluation.statistics import Difference
from vicur.wording import did_you_mean, interval, percent, points

RuleName = Literal["better than base", "not worse than champion", "hint leakage", "limit", "no way back"]


class Rule(BaseModel, frozen=True):
    """Result of one rule of the gate."""

    name: RuleName
    passed: bool
    reason: str
    """One sentence with the figures, both if the rule passed and if it did not."""


class GateOutcome(BaseModel, frozen=True):
    """Decision of the gate."""

    passed: bool
    reasons: list[str]
    """A sentence for each rule, those that did not pass first."""
    rules: list[Rule]

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> GateOutcome:
        """Combine the results of all rules."""
        # False sorts before True, and the sort keeps the order of the rules otherwise.
        ordered = sorted(rules, key=lambda rule: rule.passed)
        return cls(passed=all(r.passed for r in rules), reasons=[r.reason for r in ordered], rules=list(rules))


@dataclass(frozen=True)
class AgainstChampion:
    """Accuracy of the candidate minus that of the champion on the same questions.

    If they could not be compared, ``difference`` is ``None`` and ``obstacle`` says why, as a sentence.
    """

    version: str
    """Version of the champion."""
    difference: Difference | None = None
    obstacle: str = ""
    slices: Mapping[str, Difference] = field(default_factory=dict)
    """Differences on parts of the questions, by name (``test/kind/count``)."""


@dataclass(frozen=True)
class GateInputs:
    """Measurements on the test questions."""

    examples: int
    accuracy: float
    base_accuracy: float
    against_base: Difference
    """The candidate's accuracy minus the base's."""
    leaking: int
    """Number of the candidate's responses that mention a hint."""
    confidence: float = 0.95
    champion: AgainstChampion | None = None
    """``None`` without a champion, or if the candidate is the champion."""
    is_champion: bool = False
    left: str = ""
    """For a former champion, a sentence on why it lost the alias."""
    missing: str = ""
    """If the champion was deleted, a sentence that says so. ``champion`` is then the last one that exists."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Everything that was measured, by name. Limits refer to these names."""


def decide(inputs: GateInputs, config: GateConfig) -> GateOutcome:
    """Apply the rules.

    Raises:
        ValueError: if ``examples`` is 0.
    """
    if inputs.examples < 1:
        raise ValueError("the gate needs at least one question")
    rules = [_against_base(inputs, config), _against_champion(inputs, config), _leakage(inputs, config)]
    rules += [rule for name, limit in config.limits.items() for rule in _limit(name, limit, inputs)]
    if inputs.left:
        rules.append(Rule(name="no way back", passed=False, reason=inputs.left))
    return GateOutcome.of(rules)


def _against_base(inputs: GateInputs, config: GateConfig) -> Rule:
    difference, margin = inputs.against_base, config.margin
    measured = (
        f"{percent(inputs.accuracy)} compared with {percent(inputs.base_accuracy)} on {inputs.examples} test questions, "
        f"{points(difference.mean)} points ({_interval(difference, inputs.confidence)})"
    )
    # Two conditions: the gain is real (the interval excludes zero) and large enough to matter (the margin).
    passed = difference.low > 0 and difference.mean >= margin
    if passed:
        reason = f"Better than its base: {measured}; at least {points(margin)} is required."
    elif difference.high < 0:
        reason = f"Worse than its base: {measured}."
    elif difference.low <= 0:
        reason = f"Not significantly better than its base: {measured}; the interval is not above zero."
    else:
        reason = f"The gain on its base is too small: {measured}; at least {points(margin)} is required."
    return Rule(name="better than base", passed=passed, reason=reason)


def _against_champion(inputs: GateInputs, config: GateConfig) -> Rule:
    name: RuleName = "not worse than champion"
    if inputs.is_champion:
        return Rule(name=name, passed=True, reason="This version is already the champion.")
    champion = inputs.champion
    if champion is None:
        return Rule(name=name, passed=True, reason=inputs.missing or "There is no champion to compare with yet.")
    the_champion = f"the {'last remaining ' if inputs.missing else ''}champion, version {champion.version}"
    # A candidate that could not be compared must not replace the champion.
    if champion.difference is None:
        reason = f"Not compared with {the_champion}: {champion.obstacle}"
        return Rule(name=name, passed=False, reason=_joined(reason, inputs.missing))
    difference, tolerance = champion.difference, config.champion_tolerance
    on_same = f"on the same {inputs.examples} questions"
    measured = f"{points(difference.mean)} points ({_interval(difference, inputs.confidence)})"
    loss = f"a loss of more than {100 * tolerance:g} points"
    # Non-inferiority: neither clearly worse, nor possibly worse by more than the tolerance.
    passed = difference.high >= 0 and difference.low >= -tolerance
    if passed:
        reason = f"Not worse than {the_champion}, {on_same}: {measured}; {loss} is ruled out."
    elif difference.high < 0:
        reason = f"Worse than {the_champion}, {on_same}: {measured}."
    else:
        reason = f"Possibly worse than {the_champion}, {on_same}: {measured}; {loss} is not ruled out."
    return Rule(name=name, passed=passed, reason=_joined(reason, inputs.missing))


def _joined(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _leakage(inputs: GateInputs, config: GateConfig) -> Rule:
    share = inputs.leaking / inputs.examples
    passed = share <= config.max_leak_share
    counted = f"{inputs.leaking} of {inputs.examples} responses mention a hint ({percent(share)})"
    limit = f"the limit of {percent(config.max_leak_share)}"
    reason = f"{counted}, within {limit}." if passed else f"{counted}, above {limit}."
    return Rule(name="hint leakage", passed=passed, reason=reason)


AGAINST_CHAMPION = "champion/"


def _limit(name: str, limit: FigureLimit, inputs: GateInputs) -> Iterator[Rule]:
    """Apply a limit to each figure that its name or pattern matches."""
    found = {each: value for each, value in inputs.figures.items() if fnmatchcase(each, name)}
    if not found:
        # A first student has no champion, and the champion itself is not compared with another one.
        if name.startswith(AGAINST_CHAMPION) and (inputs.champion is None or inputs.is_champion):
            yield Rule(name="limit", passed=True, reason=f"{name}: there is no champion to compare with.")
            return
        similar = did_you_mean(name, inputs.figures).removeprefix(" Did you mean ").removesuffix("?")
        hint = f" A similar one is {similar}." if similar else ""
        reason = f"{name}: the evaluation has no such figure, so its limit cannot be checked.{hint}"
        yield Rule(name="limit", passed=False, reason=reason)
    for each, value in found.items():
        passed = (limit.min is None or value >= limit.min) and (limit.max is None or value <= limit.max)
        bounds = [f"at least {limit.min:g}"] if limit.min is not None else []
        bounds += [f"at most {limit.max:g}"] if limit.max is not None else []
        allowed = f"{' and '.join(bounds)} is required"
        yield Rule(name="limit", passed=passed, reason=f"{each} is {value:.4g}; {allowed}.")


def _interval(difference: Difference, confidence: float) -> str:
    return interval(difference.low, difference.high, confidence)
