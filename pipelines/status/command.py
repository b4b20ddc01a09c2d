"""The command ``vicur status``. kfp, Kubernetes and MLflow are imported only when it runs."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from vicur_pipelines.submit.options import CaCertOption, EndpointOption, NamespaceOption, TokenOption


def status(
    last: Annotated[int, typer.Option("--last", min=0, max=50, help="Number of runs to show that have ended.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
    tracking_uri: Annotated[
        str | None,
        typer.Option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="Address of MLflow.", show_default=False),
    ] = None,
    endpoint: EndpointOption = None,
    namespace: NamespaceOption = None,
    token: TokenOption = None,
    ca_cert: CaCertOption = None,
) -> None:
    """Show runs, queues, what waits for what, and the champions.

    Runs come from Kubeflow Pipelines, queues and waiting pods and jobs from Kubernetes (with your kubeconfig), champions from MLflow. Each
    source is optional: if one cannot be reached, a line says why. Nothing is changed. A run's status in MLflow is shown if it differs.

    [bold]Examples[/bold]

      vicur status --endpoint http://localhost:8080

      MLFLOW_TRACKING_URI=http://localhost:5000 vicur status --namespace vicur --json
    """
    from rich.console import Console
    from vicur_pipelines.status.page import print_report
    from vicur_pipelines.status.read import read_report

    report = read_report(endpoint, namespace, token, ca_cert, tracking_uri, last)
    if as_json:
        typer.echo(json.dumps(report.record(), indent=1))
    else:
        print_report(report, Console())
