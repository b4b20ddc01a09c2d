"""The rules of the gate and the sentences that they give."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicur.config.registry import FigureLimit, GateConfig
from vicur.evaluation.statistics import Difference
from vicur.registry.gate import AgainstChampion, GateInputs, GateOutcome, decide

CONFIG = GateConfig(margin=0.02, champion_tolerance=0.05, max_leak_share=0.01)
GOOD = GateInputs(
    examples=1200,
    accuracy=0.724,
    base_accuracy=0.617,
    against_base=Difference(mean=0.107, low=0.089, high=0.124),
    leaking=0,
)


def against_base(mean: float, low: float, high: float) -> GateInputs:
    return replace(GOOD, accuracy=0.617 + mean, against_base=Difference(mean=mean, low=low, high=high))


def against_champion(mean: float, low: float, high: float) -> GateInputs:
    return replace(GOOD, champion=AgainstChampion("3", Difference(mean=mean, low=low, high=high)))


def refusal(outcome: GateOutcome) -> str:
    """Return the single reason for not passing."""
    assert not outcome.passed
    (failed,) = [rule for rule in outcome.rules if not rule.passed]
    assert outcome.reasons[0] == failed.reason
    return failed.reason


def test_a_significantly_better_student_passes_and_every_rule_gives_its_figures() -> None:
    outcome = decide(GOOD, CONFIG)
    assert outcome.passed
    assert outcome.reasons == [
        "Better than its base: 72.4 % compared with 61.7 % on 1200 test questions, +10.7 points (95 % interval +8.9 to +12.4); "
        "at least +2.0 is required.",
        "There is no champion to compare with yet.",
        "0 of 1200 responses mention a hint (0.0 %), within the limit of 1.0 %.",
    ]


def test_a_student_that_is_worse_than_its_base_is_refused() -> None:
    reason = refusal(decide(against_base(-0.05, -0.07, -0.03), CONFIG))
    assert reason.startswith("Worse than its base: 56.7 % compared with 61.7 %")


def test_a_tie_is_refused_even_if_its_mean_reaches_the_margin() -> None:
    reason = refusal(decide(against_base(0.03, -0.001, 0.061), CONFIG))
    assert reason.startswith("Not significantly better than its base")
    assert "+3.0 points (95 % interval −0.1 to +6.1)" in reason


def test_a_significant_gain_below_the_margin_is_refused() -> None:
    reason = refusal(decide(against_base(0.015, 0.01, 0.02), CONFIG))
    assert reason.startswith("The gain on its base is too small")
    assert "at least +2.0 is required" in reason


def test_an_interval_that_touches_zero_is_not_above_zero() -> None:
    assert not decide(against_base(0.05, 0.0, 0.1), CONFIG).passed


def test_a_gain_of_exactly_the_margin_is_enough() -> None:
    assert decide(against_base(0.02, 0.01, 0.03), CONFIG).passed


def test_a_student_that_leaks_is_refused() -> None:
    reason = refusal(decide(replace(GOOD, leaking=37), CONFIG))
    assert reason == "37 of 1200 responses mention a hint (3.1 %), above the limit of 1.0 %."


def test_leakage_of_exactly_the_limit_passes() -> None:
    assert decide(replace(GOOD, leaking=12), CONFIG).passed
    assert not decide(replace(GOOD, leaking=13), CONFIG).passed


def test_a_student_as_good_as_the_champion_passes_if_the_test_is_large_enough() -> None:
    outcome = decide(against_champion(-0.002, -0.03, 0.026), CONFIG)
    assert outcome.passed
    assert outcome.reasons[1] == (
        "Not worse than the champion, version 3, on the same 1200 questions: −0.2 points (95 % interval −3.0 to +2.6); "
        "a loss of more than 5 points is ruled out."
    )


def test_a_student_significantly_worse_than_the_champion_is_refused_however_small_the_loss() -> None:
    assert refusal(decide(against_champion(-0.005, -0.009, -0.001), CONFIG)).startswith("Worse than the champion")


def test_a_test_too_small_to_rule_out_a_loss_blocks_every_student() -> None:
    reason = refusal(decide(against_champion(0.01, -0.08, 0.1), CONFIG))
    assert reason.startswith("Possibly worse than the champion, version 3")
    assert "a loss of more than 5 points is not ruled out" in reason


def test_a_champion_that_could_not_be_compared_stays() -> None:
    reason = refusal(decide(replace(GOOD, champion=AgainstChampion("3", obstacle="it has no checkpoint.")), CONFIG))
    assert reason == "Not compared with the champion, version 3: it has no checkpoint."


def test_the_champion_need_not_beat_itself() -> None:
    assert decide(replace(GOOD, is_champion=True), CONFIG).passed


def test_the_gate_does_not_promote_a_former_champion() -> None:
    assert refusal(decide(replace(GOOD, left="Version 2 was rolled back."), CONFIG)) == "Version 2 was rolled back."


def test_rules_that_did_not_pass_come_first() -> None:
    inputs = replace(against_champion(-0.1, -0.12, -0.08), leaking=600)
    outcome = decide(inputs, CONFIG)
    assert [rule.passed for rule in outcome.rules] == [True, False, False]
    assert outcome.reasons[0].startswith("Worse than the champion")
    assert outcome.reasons[1].startswith("600 of 1200")


def test_a_gate_without_questions_raises() -> None:
    with pytest.raises(ValueError, match="at least one question"):
        decide(replace(GOOD, examples=0), CONFIG)


shares = st.floats(0, 1, allow_nan=False)
gains = st.floats(-1, 1, allow_nan=False)


@st.composite
def differences(draw: st.DrawFn) -> Difference:
    low, mean, high = sorted(draw(st.tuples(gains, gains, gains)))
    return Difference(mean=mean, low=low, high=high)


@st.composite
def cases(draw: st.DrawFn) -> tuple[GateInputs, GateConfig]:
    examples = draw(st.integers(1, 5000))
    champion = draw(st.none() | st.builds(AgainstChampion, st.just("1"), st.none() | differences(), st.just("why.")))
    inputs = GateInputs(
        examples=examples,
        accuracy=draw(shares),
        base_accuracy=draw(shares),
        against_base=draw(differences()),
        leaking=draw(st.integers(0, examples)),
        champion=champion,
        is_champion=champion is None and draw(st.booleans()),
        left=draw(st.sampled_from(["", "Version 1 was rolled back."])),
    )
    config = GateConfig(
        margin=draw(st.floats(0, 0.5)),
        champion_tolerance=draw(st.floats(0, 0.5)),
        max_leak_share=draw(shares),
    )
    return inputs, config


@given(cases())
def test_a_student_passes_exactly_if_each_rule_holds(case: tuple[GateInputs, GateConfig]) -> None:
    inputs, config = case
    base, champion = inputs.against_base, inputs.champion
    holds = base.low > 0 and base.mean >= config.margin
    holds &= inputs.leaking / inputs.examples <= config.max_leak_share
    holds &= not inputs.left
    if champion is not None and not inputs.is_champion:
        found = champion.difference
        holds &= found is not None and found.high >= 0 and found.low >= -config.champion_tolerance
    assert decide(inputs, config).passed == holds


@given(cases())
def test_every_rule_gives_one_sentence_in_both_cases(case: tuple[GateInputs, GateConfig]) -> None:
    outcome = decide(*case)
    assert len(outcome.reasons) == len(outcome.rules) >= 3
    for reason in outcome.reasons:
        assert reason.endswith(".")
        assert "\n" not in reason
        assert "nan" not in reason


@given(cases(), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_better_student_never_fails_if_a_worse_one_passes(
    case: tuple[GateInputs, GateConfig], more: float, against: float
) -> None:
    inputs, config = case
    if not decide(inputs, config).passed:
        return
    champion = inputs.champion
    if champion is not None and champion.difference is not None:
        champion = replace(champion, difference=_raised(champion.difference, against))
    better = replace(inputs, against_base=_raised(inputs.against_base, more), champion=champion, leaking=0)
    assert decide(better, config).passed


def _raised(difference: Difference, by: float) -> Difference:
    return Difference(mean=difference.mean + by, low=difference.low + by, high=difference.high + by)


LIMITED = replace(
    GOOD, figures={"test/kind/sum/difference": 0.02, "test/kind/count/difference": -0.06, "parameters": 2e9}
)


@pytest.mark.parametrize(
    ("name", "limit", "reasons"),
    [
        ("parameters", FigureLimit(max=2e9), []),
        ("parameters", FigureLimit(max=1e9), ["parameters is 2e+09; at most 1e+09 is required."]),
        (
            "test/kind/*/difference",
            FigureLimit(min=-0.05),
            ["test/kind/count/difference is -0.06; at least -0.05 is required."],
        ),
        (
            "blind/accuracy",
            FigureLimit(max=0.4),
            ["blind/accuracy: the evaluation has no such figure, so its limit cannot be checked."],
        ),
        ("champion/test/difference", FigureLimit(min=0), []),
    ],
)
def test_figures_outside_their_limits_and_figures_that_were_not_measured_are_refusals(
    name: str, limit: FigureLimit, reasons: list[str]
) -> None:
    outcome = decide(LIMITED, CONFIG.model_copy(update={"limits": {name: limit}}))
    assert [rule.reason for rule in outcome.rules if not rule.passed] == reasons
    assert outcome.passed == (not reasons)
