"""Metrics of benchmarks from scored rows, as the paper computes them. Pure functions; results are between 0 and 1.

The definitions follow from the paper's table: a printed accuracy must be k / n for a whole number k, which leaves one definition for each
benchmark (docs/benchmarks-paper.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """A scored row: its columns, and whether the response was judged correct."""

    columns: Mapping[str, str]
    correct: bool


class AggregateError(ValueError):
    """Rows that the metric is not defined for, such as a problem with a missing step."""


def mean(outcomes: Sequence[Outcome]) -> float:
    """Return the share of correct rows."""
    if not outcomes:
        raise AggregateError("there are no rows")
    return sum(each.correct for each in outcomes) / len(outcomes)


def worst_case(outcomes: Sequence[Outcome], problem: str) -> float:
    """Return the share of problems all of whose variants are answered correctly (DynaMath's "Worst Case", which the paper does not use).

    Args:
        problem: column with the problem's id.
    """
    if not outcomes:
        raise AggregateError("there are no rows")
    right: dict[str, bool] = {}
    for each in outcomes:
        right[each.columns[problem]] = right.get(each.columns[problem], True) and each.correct
    return sum(right.values()) / len(right)


def strict_score(outcomes: Sequence[Outcome]) -> float:
    """Return We-Math's "Score (Strict)": a problem counts 1 if all of its steps and the whole are right, and 1/2 if only the steps are.

    A problem has the rows ``2steps_1``, ``2steps_2`` and ``2steps_multi``, or four rows ``3steps_...``, in the column ``key``. In terms of
    the harness, complete mastery counts 1, inadequate generalization 1/2; insufficient knowledge and rote memorization count 0. The harness
    divides by 525 whatever its file holds; this function divides by the number of problems, which is 525 in the whole benchmark.

    Raises:
        AggregateError: if a problem lacks a row or has one twice.
    """
    credit = strict_credits(outcomes)
    return sum(credit.values()) / len(credit)


def strict_credits(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], float]:
    """Return what each problem counts in :func:`strict_score`, by its number of steps and id.

    Raises:
        AggregateError: if a problem lacks a row or has one twice.
    """
    problems: dict[tuple[str, str], dict[str, bool]] = {}
    for each in outcomes:
        steps, _, step = each.columns["key"].partition("_")
        rows = problems.setdefault((steps, each.columns["ID"]), {})
        if step in rows:
            raise AggregateError(f"problem {each.columns['ID']} has two rows {each.columns['key']}")
        rows[step] = each.correct
    if not problems:
        raise AggregateError("there are no rows")
    credit: dict[tuple[str, str], float] = {}
    for (steps, problem), rows in problems.items():
        count = {"2steps": 2, "3steps": 3}.get(steps, 0)
        expected = [*map(str, range(1, count + 1)), "multi"]
        if not count or sorted(rows) != sorted(expected):
            wanted = ", ".join(f"{steps}_{step}" for step in expected)
            raise AggregateError(f"problem {problem} must have exactly the rows {wanted}")
        of_whole = 1.0 if rows["multi"] else 0.5
        credit[steps, problem] = of_whole if all(rows[step] for step in expected[:-1]) else 0.0
    return credit


def by_value(outcomes: Sequence[Outcome], column: str) -> dict[str, float]:
    """Return the share of correct rows for each value of a column, sorted by value."""
    parts: dict[str, list[Outcome]] = {}
    for each in outcomes:
        parts.setdefault(each.columns.get(column, ""), []).append(each)
    return {value: mean(part) for value, part in sorted(parts.items())}
