"""Evaluation of one model, comparison of students with their base, report and ablation."""

from vicur.evaluation.compare import COMPARE, CompareSummary, compare
from vicur.evaluation.evaluate import EVALUATE, EvaluateSummary, evaluate
from vicur.evaluation.statistics import Difference, paired_difference

__all__ = [
    "COMPARE",
    "EVALUATE",
    "CompareSummary",
    "Difference",
    "EvaluateSummary",
    "compare",
    "evaluate",
    "paired_difference",
]
