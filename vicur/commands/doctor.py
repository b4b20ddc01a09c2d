"""``vicur doctor``: check the requirements of a run before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration, examples

if TYPE_CHECKING:
    from vicur.cluster.preflight import Scope
    from vicur.config.preflight import PreflightConfig
    from vicur.config.run import RunConfig

FAILED = 1
"""Exit status if a required check has failed."""


@examples(
    "vicur doctor",
    "vicur doctor --cluster --config configs/qwen3-vl-8b.yaml --need pool.gpus=8 --need 'pool.node_selector={gpu: h100}'",
    "vicur doctor --cluster --need cue_endpoint=http://cue-model:8000/v1 --need queue=gpu-h100 --json",
)
def doctor(
    config: ConfigOption = None,
    overrides: SetOption = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Also require everything that a run in a cluster needs.")
    ] = False,
    need: Annotated[
        list[str] | None,
        typer.Option(
            "--need",
            metavar="FIELD=VALUE",
            help="Set a requirement of the run, such as pool.gpus=8 (see docs/doctor.md). Repeatable.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Check everything that a run needs, and report how to fix what is missing.

    Checks the model, tracking and checkpoint settings of the configuration. Nothing is changed, except that a probe object is written to
    each bucket and removed again. Requirements of a run in a cluster are listed, but only --cluster makes them failures. Secrets are never
    printed.

    Exit status: 0 if all required checks pass, 1 if one fails, 2 for invalid input.
    """
    import json

    from rich.console import Console

    from vicur.cluster.preflight import laptop_checks, passes, record, run_checks, summary, table

    settings = configuration(config, overrides)
    needs = _needs(settings, need or [])
    scopes: tuple[Scope, ...] = ("laptop", "cluster") if cluster else ("laptop",)
    results = run_checks(laptop_checks(needs, settings.tracking, cluster=cluster), needs.seconds)
    if as_json:
        typer.echo(json.dumps(record(results, scopes), indent=1))
    else:
        console = Console()
        console.print(table(results, scopes))
        console.print(f"\n{summary(results, scopes)}", highlight=False)
        # Without a cluster, its requirements are still listed, and would look like failures.
        if not cluster:
            console.print("What is missing is needed only for a run in a cluster: see docs/kubernetes.md.", style="dim")
    if not passes(results, scopes):
        raise typer.Exit(FAILED)


def _needs(settings: RunConfig, overrides: list[str]) -> PreflightConfig:
    """Return the requirements of the configuration, overridden by those of ``--need``."""
    from vicur.cluster.preflight import needs_of
    from vicur.config.loading import load_overrides
    from vicur.config.preflight import PreflightConfig

    values = needs_of(settings).model_dump(mode="json", exclude_none=True)
    return load_overrides(PreflightConfig, overrides, "--need", values)
