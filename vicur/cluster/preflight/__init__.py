"""Checks of everything that a run needs, before it starts: ``vicur doctor`` on a laptop, the first step of a pipeline in a cluster.

A check is one function in :mod:`vicur.cluster.preflight.checks` with the decorator :func:`~vicur.cluster.preflight.registry.check`.
"""

from vicur.cluster.preflight.check import Check, Finding, Result, Scope
from vicur.cluster.preflight.needs import needs_of
from vicur.cluster.preflight.registry import laptop_checks, step_checks
from vicur.cluster.preflight.report import markdown, passes, record, summary, table
from vicur.cluster.preflight.runner import run_checks
from vicur.cluster.preflight.step import run_preflight

__all__ = [
    "Check",
    "Finding",
    "Result",
    "Scope",
    "laptop_checks",
    "markdown",
    "needs_of",
    "passes",
    "record",
    "run_checks",
    "run_preflight",
    "step_checks",
    "summary",
    "table",
]
