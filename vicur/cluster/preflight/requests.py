"""What the pods of a run's steps request, derived from its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vicur.config.cluster import ClusterConfig
from vicur.config.run import RunConfig
from vicur.config.sizes import server_size, sized, step_size
from vicur.stage.table import PipelineConfig, steps_of

_AROUND = ("preflight", "outcome")
"""Steps of a package besides those of the table."""


def step_requests(config: PipelineConfig) -> list[dict[str, Any]]:
    """Return the requests of all steps, as values of :class:`~vicur.config.preflight.StepRequest`, equal ones together."""
    cluster = sized(config).cluster
    steps: list[tuple[str, dict[str, Any]]] = [(name, _plain(cluster)) for name in _AROUND]
    for step in steps_of(config):
        launches = step.cluster and cluster.launches_job
        if step.needs.gpus == "none" or launches:
            steps.append((step.stage, _plain(cluster)))
        else:
            gpus = cluster.gpu_count
            if step.needs.gpus == "one":
                gpus = min(1, gpus)
            elif step.needs.gpus == "processes":
                gpus = config.benchmarks.processes if gpus and isinstance(config, RunConfig) else 0
            steps.append((step.stage, {**_of_model(cluster, gpus), "queued": bool(cluster.queue and gpus)}))
        if launches:
            nodes = {"pods": cluster.nodes, "queued": bool(cluster.queue), **_place(cluster)}
            steps.append((f"nodes of {step.stage}", {**_of_model(cluster, cluster.gpu_count), **nodes}))
            steps.extend(_servers(config, cluster))
    together: list[tuple[dict[str, Any], dict[str, None]]] = []
    for name, request in steps:
        names = next((names for same, names in together if same == request), None)
        if names is None:
            together.append((request, {name: None}))
        else:
            names[name] = None
    return [{**request, "steps": list(names)} for request, names in together]


def _plain(cluster: ClusterConfig) -> dict[str, Any]:
    return {"setting": "cluster.steps", **step_size(cluster, runs_model=False).model_dump()}


def _of_model(cluster: ClusterConfig, gpus: int) -> dict[str, Any]:
    setting = "cluster.gpu_steps" if cluster.gpu_count else "cluster.cpu_steps"
    request = {"setting": setting, **step_size(cluster, runs_model=True).model_dump()}
    # Without GPUs, the selector and the tolerations of the pool do not apply to steps.
    return {**request, "gpus": gpus, "gpu_type": cluster.gpu_type, **_place(cluster)} if gpus else request


def _servers(config: PipelineConfig, cluster: ClusterConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the servers that each method's job has besides its nodes."""
    for cell in config.cells():
        for part, engine in cell.training.engines.items():
            if engine.placement == "job":
                gpus = engine.settings.tensor_parallel if cluster.gpu_count else 0
                request = {"setting": "cluster.servers", **server_size(cluster).model_dump(), **_place(cluster)}
                pods = {"pods": engine.settings.replicas, "queued": bool(cluster.queue)}
                yield f"{part} servers", {**request, **pods, "gpus": gpus, "gpu_type": cluster.gpu_type}


def _place(cluster: ClusterConfig) -> dict[str, Any]:
    tolerations = [taint.model_dump() for taint in cluster.tolerations]
    return {"node_selector": dict(cluster.node_selector), "tolerations": tolerations}
