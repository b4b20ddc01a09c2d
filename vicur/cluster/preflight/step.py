"""Run the checks as the first step of a pipeline, which fails before any GPU is requested."""

from __future__ import annotations

from rich.console import Console

from vicur.cluster.preflight.check import Scope
from vicur.cluster.preflight.registry import step_checks
from vicur.cluster.preflight.report import markdown, passes, summary, table
from vicur.cluster.preflight.runner import run_checks
from vicur.config.preflight import PreflightConfig
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError

_SCOPES: tuple[Scope, ...] = ("cluster",)
# A pod's log has no terminal to take the width from.
_WIDTH = 160


def run_preflight(needs: PreflightConfig, tracking: TrackingConfig) -> str:
    """Run the checks, print their table and return it as Markdown.

    Raises:
        VicurError: if a check has failed. The message names the failed checks.
    """
    results = run_checks(step_checks(needs, tracking), needs.seconds)
    Console(width=_WIDTH).print(table(results, _SCOPES))
    if not passes(results, _SCOPES):
        failed = [result.check.name for result in results if result.finding.status == "failed"]
        raise VicurError(
            f"{summary(results, _SCOPES)}: {', '.join(failed)}.",
            where="preflight",
            remedy="Follow the remedies in the table above, then start the run again.",
            # A server that restarts fails its check for a minute. What needs a person to mend it fails the run.
            retryable=all(each.finding.temporary for each in results if each.finding.status == "failed"),
        )
    return markdown(results, _SCOPES)
