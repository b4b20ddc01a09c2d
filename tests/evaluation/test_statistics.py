import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_rel

from vicur.evaluation.significance import holm, mcnemar
from vicur.evaluation.statistics import Difference, paired_difference, paired_difference_over_seeds

Rows = list[tuple[bool, bool, str]]
rows = st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abcdef")), min_size=1, max_size=40)


def difference(table: Rows, seed: int = 0) -> Difference:
    correct, reference, groups = zip(*table, strict=True)
    return paired_difference(correct, reference, groups, seed=seed, resamples=1000)


@given(rows)
@settings(deadline=None, max_examples=50)
def test_the_mean_is_the_difference_in_accuracy_and_bounds_are_shares(table: Rows) -> None:
    found = difference(table)
    assert found.mean == pytest.approx((sum(a for a, _, _ in table) - sum(b for _, b, _ in table)) / len(table))
    assert -1 <= found.low <= found.high <= 1


@given(rows)
@settings(deadline=None, max_examples=50)
def test_identical_answers_have_a_difference_of_exactly_zero(table: Rows) -> None:
    several = [*table, (True, True, "another"), (False, False, "third")]
    found = difference([(a, a, group) for a, _, group in several])
    assert (found.mean, found.low, found.high) == (0, 0, 0)
    assert found.verdict == "tie"


@given(rows, st.randoms())
@settings(deadline=None, max_examples=50)
def test_the_order_of_rows_does_not_matter(table: Rows, random: object) -> None:
    shuffled = list(table)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert difference(shuffled) == difference(table)


@given(rows)
@settings(deadline=None, max_examples=50)
def test_swapping_the_models_reverses_the_sign(table: Rows) -> None:
    there, back = difference(table), difference([(b, a, group) for a, b, group in table])
    assert [there.mean, there.low, there.high] == pytest.approx([-back.mean, -back.high, -back.low])
    assert there.reversed.mean == -there.mean


def test_a_clear_gain_is_better_a_clear_loss_worse_and_a_balanced_result_a_tie() -> None:
    groups = [f"scene {n // 3}" for n in range(300)]
    right, wrong = [True] * 300, [False] * 300
    assert paired_difference(right, wrong, groups, seed=0).verdict == "better"
    assert paired_difference(wrong, right, groups, seed=0).verdict == "worse"
    half = [n % 2 == 0 for n in range(300)]
    balanced = paired_difference(half, [not h for h in half], groups, seed=0)
    assert balanced.mean == 0
    assert balanced.low < 0 < balanced.high
    assert balanced.verdict == "tie"


def test_a_single_group_gives_the_widest_interval() -> None:
    assert paired_difference([True] * 9, [False] * 9, ["a"] * 9, seed=0) == Difference(mean=1, low=-1, high=1)


def test_dependent_questions_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    scene_gain = rng.random(100) < 0.6
    correct = np.repeat(scene_gain, 3)
    together = paired_difference(correct, ~correct, [str(n // 3) for n in range(300)], seed=0)
    alone = paired_difference(correct, ~correct, [str(n) for n in range(300)], seed=0)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_the_interval_covers_the_true_difference_at_its_confidence_level() -> None:
    rng = np.random.default_rng(1)
    groups = [str(n // 2) for n in range(200)]
    covered = 0
    for trial in range(100):
        correct, reference = rng.random(200) < 0.7, rng.random(200) < 0.6
        found = paired_difference(correct, reference, groups, seed=trial, resamples=1000)
        covered += found.low <= 0.1 <= found.high
    assert 88 <= covered <= 100


@pytest.mark.parametrize(("a", "b", "groups"), [([], [], []), ([True], [True, False], ["a"]), ([True], [True], [])])
def test_rows_of_different_lengths_are_refused(a: list[bool], b: list[bool], groups: list[str]) -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference(a, b, groups, seed=0)


def test_many_groups_are_resampled_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicur.evaluation.statistics._BLOCK", 700)
    found = paired_difference([True] * 50, [False] * 50, [str(n) for n in range(50)], seed=0, resamples=1001)
    assert (found.low, found.high) == (1, 1)


def over_seeds(correct: list[list[bool]], reference: list[list[bool]], groups: list[str], seed: int = 0) -> Difference:
    return paired_difference_over_seeds(np.array(correct), np.array(reference), groups, seed=seed, resamples=2000)


def test_the_mean_over_seeds_is_over_all_answers_and_a_single_reference_serves_every_seed() -> None:
    found = over_seeds([[True, True, False], [True, False, False]], [[False, True, False]], ["a", "b", "c"])
    assert found.mean == pytest.approx(3 / 6 - 1 / 3)
    both = over_seeds([[True, True, False], [True, False, False]], [[False, True, False]] * 2, ["a", "b", "c"])
    assert both == found


def test_seeds_that_disagree_widen_the_interval() -> None:
    groups = [f"scene {n}" for n in range(100)]
    half, all_right, none = [n % 2 == 0 for n in range(100)], [True] * 100, [False] * 100
    agreeing = over_seeds([half] * 4, [none], groups)
    disagreeing = over_seeds([all_right, all_right, none, none], [none], groups)
    assert agreeing.mean == disagreeing.mean == 0.5
    assert agreeing.verdict == "better"
    assert agreeing.high - agreeing.low < 0.25
    assert disagreeing.low < 0.1
    assert disagreeing.high > 0.9


def test_with_one_seed_only_scenes_are_resampled() -> None:
    groups = [f"scene {n // 3}" for n in range(300)]
    right, wrong = [n % 4 != 0 for n in range(300)], [n % 4 == 1 for n in range(300)]
    crossed = over_seeds([right], [wrong], groups)
    plain = paired_difference(right, wrong, groups, seed=0, resamples=2000)
    assert crossed.mean == plain.mean
    assert (crossed.low, crossed.high) == pytest.approx((plain.low, plain.high), abs=0.01)


def test_arms_with_different_numbers_of_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        over_seeds([[True, False]], [[True]], ["a", "b"])


def test_the_detectable_difference_is_found_four_times_out_of_five() -> None:
    rng = np.random.default_rng(0)
    questions, simulations = 400, 150
    groups = [str(n) for n in range(questions)]
    # Both models answer 30 % of the questions differently.
    planned = paired_difference(
        np.arange(questions) % 20 < 3, np.arange(questions) % 20 >= 17, groups, seed=0, resamples=2000
    )
    assert planned.mean == 0
    assert planned.verdict == "tie"
    assert planned.detectable is not None
    # Analytically (1.96 + 0.84) * sqrt(0.3 / 400).
    assert planned.detectable == pytest.approx(2.8 * (0.3 / questions) ** 0.5, rel=0.05)
    found = 0
    for _ in range(simulations):
        kind = rng.random(questions)
        better, worse = kind < 0.15 + planned.detectable / 2, kind > 0.85 + planned.detectable / 2
        found += paired_difference(better, worse, groups, seed=0, resamples=1000).verdict == "better"
    assert 0.68 < found / simulations < 0.92  # 0.8 within four standard errors


def test_the_p_value_of_the_bootstrap_is_near_that_of_a_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    for shift in (0.0, 0.03, 0.06):
        correct, reference = rng.random(600) < 0.5 + shift, rng.random(600) < 0.5
        found = paired_difference(correct, reference, [str(n) for n in range(600)], seed=0)
        expected = ttest_rel(correct.astype(float), reference.astype(float)).pvalue
        assert found.p == pytest.approx(expected, abs=0.02)
        assert (found.p > 0.05) == (found.verdict == "tie")


def test_a_single_group_has_neither_p_value_nor_detectable_difference() -> None:
    found = paired_difference([True] * 9, [False] * 9, ["a"] * 9, seed=0)
    assert found.p is None
    assert found.detectable is None


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, abs=1e-12)
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


def test_holm_corrects_as_in_the_textbook() -> None:
    # From R's p.adjust(c(0.01, 0.02, 0.03, 0.005), method = "holm").
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    for raw, new in zip(p, adjusted, strict=True):
        assert raw <= new + 1e-12
        assert new <= min(1.0, len(p) * max(p)) + 1e-12
    assert [adjusted[n] for n in np.argsort(p, kind="stable")] == sorted(adjusted)
