"""Metrics from scored rows, against values that were computed by hand."""

from __future__ import annotations

import pytest

from tests.evaluation.benchmarks.drawn import TABLES
from vicur.evaluation.benchmarks.aggregates import AggregateError, Outcome, by_value, mean, strict_score, worst_case
from vicur.evaluation.benchmarks.registry import BENCHMARKS


def outcomes(name: str, right: str) -> list[Outcome]:
    """Return the outcomes of a table's rows; ``1`` is a right one."""
    rows = [row for row in TABLES[name]() if row.get("split") != "dev"]
    return [
        Outcome({key: str(value) for key, value in row.items()}, flag == "1")
        for row, flag in zip(rows, right.replace(" ", ""), strict=True)
    ]


def test_we_math_counts_a_problem_by_its_steps_and_its_whole() -> None:
    # Complete mastery 1, rote memorization 0, inadequate generalization 1/2.
    assert strict_score(outcomes("wemath", "111 101 1110")) == pytest.approx((1 + 0 + 0.5) / 3)
    # Insufficient knowledge 0.
    assert strict_score(outcomes("wemath", "100 010 1101")) == 0
    assert strict_score(outcomes("wemath", "111 111 1111")) == 1
    assert BENCHMARKS["wemath"].aggregate(outcomes("wemath", "110 110 1110")) == pytest.approx(0.5)


def test_we_math_equals_the_harness_on_a_whole_benchmark() -> None:
    # 525 problems, with the harness's formula from its four counts: (525 - 0.5 IG - RM - IK) / 525.
    rows = []
    mastered, general, rote, unknown = 100, 51, 74, 300
    plan = [("11", "1")] * mastered + [("11", "0")] * general + [("10", "1")] * rote + [("01", "0")] * unknown
    for problem, (steps, whole) in enumerate(plan):
        for step, flag in (("1", steps[0]), ("2", steps[1]), ("multi", whole)):
            rows.append(Outcome({"ID": str(problem), "key": f"2steps_{step}"}, flag == "1"))
    assert strict_score(rows) == pytest.approx((525 - 0.5 * general - rote - unknown) / 525)


@pytest.mark.parametrize("change", ["missing", "twice", "unknown"])
def test_we_math_refuses_incomplete_problems(change: str) -> None:
    rows = outcomes("wemath", "111 111 1111")
    rows = {
        "missing": rows[:-1],
        "twice": [*rows, rows[0]],
        "unknown": [*rows, Outcome({"ID": "9", "key": "4steps_1"}, True)],
    }[change]
    with pytest.raises(AggregateError, match="problem"):
        strict_score(rows)


def test_dynamath_is_the_average_and_not_the_worst_case() -> None:
    rows = outcomes("dynamath", "111 110 000")
    assert BENCHMARKS["dynamath"].aggregate(rows) == pytest.approx(5 / 9)
    assert worst_case(rows, "qid") == pytest.approx(1 / 3)


def test_mathverse_is_the_mean_over_all_versions() -> None:
    rows = outcomes("mathverse", "11111 10000")
    assert BENCHMARKS["mathverse"].aggregate(rows) == pytest.approx(0.6)
    versions = by_value(rows, "problem_version")
    assert versions["Text Dominant"] == 1
    assert versions["Vision Only"] == 0.5
    assert mean(rows) == pytest.approx(sum(versions.values()) / 5)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_no_rows_are_no_score(name: str) -> None:
    with pytest.raises(AggregateError, match="no rows"):
        BENCHMARKS[name].aggregate([])


# Shares that the paper's table prints for its 2B base must be possible with the declared number of rows.
@pytest.mark.parametrize("name", [each.name for each in BENCHMARKS.values() if each.rows and each.name != "wemath"])
def test_the_papers_figures_are_shares_of_the_declared_rows(name: str) -> None:
    benchmark = BENCHMARKS[name]
    fits = 0
    figures = [*benchmark.paper.student_2b.values(), *benchmark.paper.student_8b.values()]
    for figure in figures:
        digits = 1 if name in ("mathvista", "videomme") else 2
        nearest = round(figure / 100 * benchmark.rows)
        fits += any(round(100 * k / benchmark.rows, digits) == figure for k in range(nearest - 2, nearest + 3))
    assert len(figures) == 12
    assert fits >= 10
