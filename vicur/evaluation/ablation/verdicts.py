"""State the result of each contrast in a sentence. Every sentence follows from an interval; none is written by hand."""

from __future__ import annotations

from vicur.evaluation.ablation.paper import SIZES, paper_differences
from vicur.evaluation.ablation.results import AblationResults, ContrastResult
from vicur.evaluation.statistics import Difference
from vicur.wording import estimate, points

_WORDS = {"better": "is better than", "worse": "is worse than", "tie": "ties with"}


def sentence(result: ContrastResult, results: AblationResults) -> str:
    """Return the question of a contrast, its answer on the test questions and beyond, and the paper's figures."""
    contrast, test = result.contrast, result.difference["test"]
    answer = f"{contrast.first} {_WORDS[test.verdict]} {contrast.second} on test"
    figures = [f"{interval(test)} points"]
    figures += [
        f"{interval(difference)} {'out of domain' if split == 'ood' else f'on {split}'}"
        for split, difference in result.difference.items()
        # Students are chosen on validation, so it is not evidence.
        if split not in ("test", "validation")
    ]
    return f"{contrast.question} {answer}: {', '.join(figures)}.{_paper(result, results)}"


def interval(difference: Difference) -> str:
    """Write a difference with its interval, in points."""
    return estimate(difference.mean, difference.low, difference.high)


def _paper(result: ContrastResult, results: AblationResults) -> str:
    """Return the paper's figures for the same contrast, or an empty string if it does not have both rows."""
    rows = [_row(name, results) for name in (result.contrast.first, result.contrast.second)]
    tables = []
    for table, values in paper_differences(*rows):
        at = ", ".join(f"{points(value / 100)} at {size}" for value, size in zip(values, SIZES, strict=True))
        tables.append(f"{table} {at}")
    return f" The paper: {'; '.join(tables)}." if tables else ""


def _row(name: str, results: AblationResults) -> str | None:
    return results.arms[name].paper if name in results.arms else name
