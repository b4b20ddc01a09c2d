"""``vicur doctor``: check the requirements of a run before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vicur.commands.common import ConfigOption, SetOption, configuration, examples
from vicur.errors import VicurError

if TYPE_CHECKING:
    from vicur.cluster.preflight import Scope
    from vicur.config.preflight import PreflightConfig
    from vicur.stage.table import PipelineConfig

FAILED = 1
"""Exit status if a required check has failed."""


@examples(
    "vicur doctor",
    "vicur doctor --cluster configs/qwen3-vl-8b.yaml --need 'pool.node_selector={gpu: h100}'",
    "vicur doctor --package tiny.yaml --set cluster.namespace=kubeflow",
    "vicur doctor --cluster --need cue_endpoint=http://cue-model:8000/v1 --need queue=gpu-h100 --json",
)
def doctor(
    configured: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="Configuration (YAML) of the run. Default: configs/local.yaml if it exists, otherwise the library's defaults.",
            show_default=False,
        ),
    ] = None,
    overrides: SetOption = None,
    config: ConfigOption = None,
    package: Annotated[
        Path | None,
        typer.Option("--package", help="Check for a run of this compiled package (YAML) in a cluster instead."),
    ] = None,
    pipeline: Annotated[
        Literal["cluster", "distill", "ablation"],
        typer.Option("--pipeline", help="Pipeline that the configuration is for, as in 'vicur compile'."),
    ] = "cluster",
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

    Checks the settings of the configuration or package. Nothing is changed, except that a probe object is written to each bucket and
    removed again. Requirements of a run in a cluster are listed, but only --cluster and --package make them failures. Secrets are never
    printed.

    Exit status: 0 if all required checks pass, 1 if one fails, 2 for invalid input.
    """
    import json

    from rich.console import Console

    from vicur.cluster.preflight import laptop_checks, passes, record, run_checks, summary, table

    if sum(each is not None for each in (configured, config, package)) > 1:
        raise VicurError(
            "more than one configuration is given.",
            where="CONFIG, --config, --package",
            remedy="Give one of them: a package contains its configuration.",
        )
    if package is not None and pipeline != "cluster":
        raise VicurError(
            f"the package decides which pipeline it is, so --pipeline {pipeline} has no effect.",
            where="--package",
            remedy="Omit --pipeline.",
        )
    settings = _settings(configured or config, package, overrides or [], pipeline)
    cluster = cluster or package is not None
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


def _settings(config: Path | None, package: Path | None, overrides: list[str], pipeline: str) -> PipelineConfig:
    """Return the configuration of the run to check, with the settings of ``--set``."""
    from vicur.config.ablation import AblationConfig
    from vicur.config.loading import load_overrides, load_settings

    if package is not None:
        from vicur.commands.package import package_config

        found = package_config(package)
        return load_overrides(type(found), overrides, "--set", found.model_dump(mode="json", exclude_none=True))
    if pipeline == "ablation":
        return load_settings(AblationConfig, config, overrides)
    return configuration(config, overrides)


def _needs(settings: PipelineConfig, overrides: list[str]) -> PreflightConfig:
    """Return the requirements of the configuration, overridden by those of ``--need``."""
    from vicur.cluster.preflight import needs_of
    from vicur.config.loading import load_overrides
    from vicur.config.preflight import PreflightConfig

    values = needs_of(settings).model_dump(mode="json", exclude_none=True)
    return load_overrides(PreflightConfig, overrides, "--need", values)
