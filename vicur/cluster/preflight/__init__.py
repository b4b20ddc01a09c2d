"""What a run needs, looked at before it begins: by ``vicur doctor`` on a laptop, and by a pipeline's first step in the cluster."""

from vicur.cluster.preflight.finding import Check, Finding, Result
from vicur.cluster.preflight.needs import needs_of
from vicur.cluster.preflight.report import markdown, passes, record, summary, table
from vicur.cluster.preflight.running import run_checks
from vicur.cluster.preflight.selection import laptop_checks, step_checks
from vicur.cluster.preflight.step import run_preflight

__all__ = [
    "Check",
    "Finding",
    "Result",
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
