"""The checks as the first step of a pipeline: it fails with the table, before a GPU is asked for."""

from __future__ import annotations

from rich.console import Console

from vicur.cluster.preflight.finding import Scope
from vicur.cluster.preflight.report import markdown, passes, summary, table
from vicur.cluster.preflight.running import run_checks
from vicur.cluster.preflight.selection import step_checks
from vicur.config.preflight import PreflightConfig
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError

_ASKED: tuple[Scope, ...] = ("cluster",)
_WIDTH = 160


def run_preflight(settings: PreflightConfig, tracking: TrackingConfig) -> str:
    """Looks at what a run needs, prints the table, and returns it as Markdown.

    Args:
        settings: settings of the checks.
        tracking: the tracking section of the run configuration.

    Raises:
        VicurError: where a check has failed; its message names those that have.
    """
    results = run_checks(step_checks(settings, tracking), settings.seconds)
    Console(width=_WIDTH).print(table(results, _ASKED))
    if not passes(results, _ASKED):
        failed = [result.check.name for result in results if result.finding.status == "failed"]
        raise VicurError(
            f"{summary(results, _ASKED)}: {', '.join(failed)}.",
            where="preflight",
            remedy="Do what the table above says, then start the run again.",
        )
    return markdown(results, _ASKED)
