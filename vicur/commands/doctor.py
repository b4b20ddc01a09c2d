"""``vicur doctor``: what a run needs, looked at before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration

if TYPE_CHECKING:
    from vicur.cluster.preflight.finding import Scope
    from vicur.config.preflight import PreflightConfig
    from vicur.config.run import RunConfig

FAILED = 1
"""Exit status where something has failed that was asked for."""


def doctor(
    config: ConfigOption = None,
    overrides: SetOption = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Ask for a cluster too: what it lacks is a failure then.")
    ] = False,
    need: Annotated[
        list[str] | None,
        typer.Option(
            "--need",
            metavar="FIELD=VALUE",
            help="What a run needs of a cluster (docs/doctor.md lists the fields). May be given several times.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at everything that a run needs, and say what to do about what is missing. Nothing is changed.

    Model, tracking and checkpoints are those of the configuration. A probe object is written to each bucket and removed again. What
    only a run in a cluster needs is listed as missing; with --cluster it must be there. Secrets are never printed.

    Exit status: 0 where all is well that was asked for, 1 where not, 2 for wrong input.

    [bold]Examples[/bold]

      vicur doctor

      vicur doctor --cluster --config configs/qwen3-vl-8b.yaml --need pool.gpus=8 --need 'pool.node_selector={gpu: h100}'

      vicur doctor --cluster --need cue_endpoint=http://cue-model:8000/v1 --need queue=gpu-h100 --json
    """
    import json

    from rich.console import Console

    from vicur.cluster.preflight import laptop_checks, passes, record, run_checks, summary, table

    settings = configuration(config, overrides)
    wanted = _needs(settings, need or [])
    asked: tuple[Scope, ...] = ("laptop", "cluster") if cluster else ("laptop",)
    results = run_checks(laptop_checks(wanted, settings.tracking, cluster=cluster), wanted.seconds)
    if as_json:
        typer.echo(json.dumps(record(results, asked), indent=1))
    else:
        console = Console()
        console.print(table(results, asked))
        console.print(f"\n{summary(results, asked)}", highlight=False)
        if not cluster:
            console.print("Missing is what only a run in a cluster needs: docs/kubernetes.md.", style="dim")
    if not passes(results, asked):
        raise typer.Exit(FAILED)


def _needs(settings: RunConfig, given: list[str]) -> PreflightConfig:
    """What the configuration says, and what is given beside it, which goes first.

    Raises:
        VicurError: where something given is unknown or wrong.
    """
    from vicur.cluster.preflight import needs_of
    from vicur.config.loading import load_overrides
    from vicur.config.preflight import PreflightConfig

    values = needs_of(settings).model_dump(mode="json", exclude_none=True)
    return load_overrides(PreflightConfig, given, "--need", values)
