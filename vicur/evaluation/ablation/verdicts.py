"""What the contrasts say in words. Every sentence follows from an interval; nobody writes a verdict by hand."""

from __future__ import annotations

from vicur.evaluation.ablation.paper import SIZES, paper_differences
from vicur.evaluation.ablation.results import AblationResults, ContrastResult
from vicur.evaluation.statistics import Difference
from vicur.evaluation.verdicts import points

_WORDS = {"better": "Better", "worse": "Worse", "tie": "A tie"}


def sentence(result: ContrastResult, results: AblationResults) -> str:
    """What a contrast found on the test questions and beyond, and what the paper has: the question, then the answer."""
    contrast, test = result.contrast, result.difference["test"]
    found = f"{_WORDS[test.verdict]}: {contrast.first} against {contrast.second} {interval(test)} points on test"
    others = [f"{interval(result.difference['ood'])} out of domain"] if "ood" in result.difference else []
    return f"{contrast.question} {', '.join([found, *others])}.{_paper(result, results)}"


def interval(difference: Difference) -> str:
    """``+10.7 [+8.9, +12.4]``, in points."""
    return f"{points(difference.mean)} [{points(difference.low)}, {points(difference.high)}]"


def _paper(result: ContrastResult, results: AblationResults) -> str:
    """What the paper has for the same contrast, where it has both rows."""
    rows = [_row(name, results) for name in (result.contrast.first, result.contrast.second)]
    told = []
    for table, values in paper_differences(*rows):
        at = ", ".join(f"{points(value / 100)} at {size}" for value, size in zip(values, SIZES, strict=True))
        told.append(f"{table} {at}")
    return f" The paper: {'; '.join(told)}." if told else ""


def _row(name: str, results: AblationResults) -> str | None:
    return results.arms[name].paper if name in results.arms else name
