"""Whether a candidate becomes champion: a pure function of what was measured, with a sentence for each rule.

The rules, all of which must hold:

1. *Better than its base*: the mean gain is at least ``margin``, and the paired-bootstrap interval of the gain lies above
   zero. A gain that the test questions cannot tell from luck is no gain.
2. *Not worse than the present champion* on the same questions. Two things are asked of the difference, candidate minus
   champion. Its interval must not lie below zero: a candidate that is surely worse is refused, by however little. And
   the interval must not reach below ``-champion_tolerance`` (a non-inferiority test): a test too small to rule out a
   real loss lets nobody pass, so a row of promotions on weak evidence cannot wear the champion down.
3. *Hint leakage*: the share of responses that speak of a hint is at most ``max_leak_share``.
4. *No way back*: a version that was champion once and was rolled back or superseded returns by hand only. Running an
   old pipeline again must not undo what was decided since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from vicur.config.registry import GateConfig
from vicur.evaluation.statistics import Difference
from vicur.wording import interval, percent, points

RuleName = Literal["better than base", "not worse than champion", "hint leakage", "no way back"]


class Rule(BaseModel, frozen=True):
    """One rule of the gate and how it went."""

    name: RuleName
    passed: bool
    reason: str
    """One sentence with the figures, whichever way it went."""


class GateOutcome(BaseModel, frozen=True):
    """What the gate decided."""

    passed: bool
    reasons: list[str]
    """A sentence for each rule. Where the gate did not pass, those that were not met come first."""
    rules: list[Rule]

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> GateOutcome:
        """The outcome that follows from the rules."""
        ordered = sorted(rules, key=lambda rule: rule.passed)
        return cls(passed=all(r.passed for r in rules), reasons=[r.reason for r in ordered], rules=list(rules))


@dataclass(frozen=True)
class AgainstChampion:
    """The candidate and the present champion.

    Attributes:
        version: version of the champion.
        difference: accuracy of the candidate minus that of the champion on the same questions; ``None`` where they could
            not be compared.
        obstacle: why not, as a sentence.
    """

    version: str
    difference: Difference | None = None
    obstacle: str = ""


@dataclass(frozen=True)
class GateInputs:
    """What was measured on the test questions.

    Attributes:
        examples: number of questions.
        accuracy: the candidate's accuracy.
        base_accuracy: the base's.
        against_base: the candidate's accuracy minus the base's.
        leaking: number of the candidate's responses that speak of a hint.
        confidence: level of the intervals.
        champion: the champion to compare with; ``None`` where there is none, or the candidate is it.
        is_champion: whether the candidate is the champion already.
        left: why a former champion is one no longer, as a sentence; empty for all others.
    """

    examples: int
    accuracy: float
    base_accuracy: float
    against_base: Difference
    leaking: int
    confidence: float = 0.95
    champion: AgainstChampion | None = None
    is_champion: bool = False
    left: str = ""


def decide(inputs: GateInputs, config: GateConfig) -> GateOutcome:
    """Applies the rules.

    Raises:
        ValueError: for no questions.
    """
    if inputs.examples < 1:
        raise ValueError("a gate without questions")
    rules = [_against_base(inputs, config), _against_champion(inputs, config), _leakage(inputs, config)]
    if inputs.left:
        rules.append(Rule(name="no way back", passed=False, reason=inputs.left))
    return GateOutcome.of(rules)


def _against_base(inputs: GateInputs, config: GateConfig) -> Rule:
    difference, margin = inputs.against_base, config.margin
    measured = (
        f"{percent(inputs.accuracy)} against {percent(inputs.base_accuracy)} on {inputs.examples} test questions, "
        f"{points(difference.mean)} points ({_interval(difference, inputs.confidence)})"
    )
    passed = difference.low > 0 and difference.mean >= margin
    if passed:
        reason = f"Better than its base: {measured}, and {points(margin)} are asked for."
    elif difference.high < 0:
        reason = f"Worse than its base: {measured}."
    elif difference.low <= 0:
        reason = f"Not surely better than its base: {measured}; the interval is not above zero."
    else:
        reason = f"Not better than its base by enough: {measured}, where {points(margin)} are asked for."
    return Rule(name="better than base", passed=passed, reason=reason)


def _against_champion(inputs: GateInputs, config: GateConfig) -> Rule:
    name: RuleName = "not worse than champion"
    if inputs.is_champion:
        return Rule(name=name, passed=True, reason="It is the champion already.")
    champion = inputs.champion
    if champion is None:
        return Rule(name=name, passed=True, reason="There is no champion yet to be compared with.")
    if champion.difference is None:
        reason = f"Not compared with the champion, version {champion.version}: {champion.obstacle}"
        return Rule(name=name, passed=False, reason=reason)
    difference, tolerance = champion.difference, config.champion_tolerance
    on_same = f"on the same {inputs.examples} questions"
    measured = f"{points(difference.mean)} points ({_interval(difference, inputs.confidence)})"
    loss = f"a loss of more than {100 * tolerance:g} points"
    passed = difference.high >= 0 and difference.low >= -tolerance
    if passed:
        reason = f"Not worse than the champion, version {champion.version}, {on_same}: {measured}; {loss} is ruled out."
    elif difference.high < 0:
        reason = f"Worse than the champion, version {champion.version}, {on_same}: {measured}."
    else:
        reason = (
            f"Perhaps worse than the champion, version {champion.version}: {measured} {on_same} do not rule out {loss}."
        )
    return Rule(name=name, passed=passed, reason=reason)


def _leakage(inputs: GateInputs, config: GateConfig) -> Rule:
    share = inputs.leaking / inputs.examples
    passed = share <= config.max_leak_share
    counted = f"{inputs.leaking} of {inputs.examples} responses speak of a hint ({percent(share)})"
    limit = f"the limit of {percent(config.max_leak_share)}"
    reason = f"{counted}, within {limit}." if passed else f"{counted}, above {limit}."
    return Rule(name="hint leakage", passed=passed, reason=reason)


def _interval(difference: Difference, confidence: float) -> str:
    return interval(difference.low, difference.high, confidence)
