"""The checks as the first step of a pipeline: it fails with the table, before a GPU is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from vicur.cluster.preflight.finding import Scope
from vicur.cluster.preflight.report import markdown, passes, summary, table
from vicur.cluster.preflight.running import run_checks
from vicur.cluster.preflight.selection import step_checks
from vicur.config.preflight import PreflightConfig
from vicur.config.tracking import TrackingConfig
from vicur.config.validation import validated
from vicur.errors import VicurError

_ASKED: tuple[Scope, ...] = ("cluster",)
_WIDTH = 160


def run_preflight(config: Mapping[str, Any], tracking: Mapping[str, Any]) -> str:
    """Looks at what a run needs, prints the table, and returns it as Markdown.

    Args:
        config: settings of the checks (:class:`~vicur.config.preflight.PreflightConfig`), as the platform passed them.
        tracking: the tracking section of the run configuration.

    Raises:
        VicurError: where a setting is wrong, or a check has failed; its message names those that have.
    """
    settings = validated(PreflightConfig, dict(config), "preflight")
    results = run_checks(step_checks(settings, validated(TrackingConfig, dict(tracking), "tracking")), settings.seconds)
    Console(width=_WIDTH).print(table(results, _ASKED))
    if not passes(results, _ASKED):
        failed = [result.check.name for result in results if result.finding.status == "failed"]
        raise VicurError(
            f"{summary(results, _ASKED)}: {', '.join(failed)}.",
            where="preflight",
            remedy="Do what the table above says, then start the run again.",
        )
    return markdown(results, _ASKED)
