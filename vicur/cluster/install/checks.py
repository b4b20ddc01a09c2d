"""The checks of ``vicur doctor`` that look at the cluster, after an installation."""

from __future__ import annotations

from rich.console import Console

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.install.kubectl import Object
from vicur.cluster.preflight import passes, run_checks, summary, table
from vicur.cluster.preflight.check import Scope, Target
from vicur.cluster.preflight.registry import definitions
from vicur.config.preflight import PreflightConfig
from vicur.config.tracking import TrackingConfig

_SCOPES: tuple[Scope, ...] = ("cluster",)


def check_cluster(overlay: list[Object], namespace: str, context: str, console: Console) -> bool:
    """Check the cluster for what an overlay needs, print the results and return whether all required checks passed.

    Services are not checked: they can be reached only from inside the cluster, where the step ``preflight`` checks them.
    """
    queues = [each["metadata"]["name"] for each in overlay if each["kind"] == "LocalQueue"]
    trainer = any(each["kind"] == "TrainingRuntime" for each in overlay)
    needs = PreflightConfig(namespace=namespace, queue=next(iter(queues), None), trainer=trainer)
    target = Target(needs, TrackingConfig(), "laptop", for_cluster=True, connection=ClusterConnection(context))
    checks = [
        each for definition in definitions() if definition.topic == "cluster" for each in definition.checks(target)
    ]
    results = run_checks(checks, needs.seconds)
    console.print(table(results, _SCOPES))
    console.print(f"\n{summary(results, _SCOPES)}", highlight=False)
    return passes(results, _SCOPES)
