"""GPU-hours of a run and their cost, computed from the times of its pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vicur.config.cluster import ClusterConfig

GPU_HOURS = "usage/gpu_hours"
"""Name of the metric in MLflow, for the whole run and for each training that ran as a job."""


@dataclass(frozen=True)
class Usage:
    """GPU-hours of a run, including those of failed attempts."""

    gpu_hours: float
    pods: int  # pods with a GPU that still exist
    cost: float | None  # None if the pool's GPU has no price
    currency: str

    @property
    def text(self) -> str:
        hours = f"{self.gpu_hours:.2f} GPU-hours"
        if self.cost is None:
            return f"{hours} (cluster.prices has no price for this GPU)"
        return f"{hours}, {self.cost:.2f} {self.currency}"


def usage_of(pods: Iterable[Mapping[str, Any]], pool: ClusterConfig, now: datetime, launched: float = 0.0) -> Usage:
    """Return the GPU-hours of ``pods`` (JSON of the Kubernetes API) until ``now``.

    ``launched`` are GPU-hours of jobs whose pods have been removed.
    """
    with_gpus = [(gpus, _hours(pod, now)) for pod in pods if (gpus := _gpus(pod, pool.gpu_type))]
    gpu_hours = launched + sum(gpus * hours for gpus, hours in with_gpus)
    price = pool.price()
    return Usage(gpu_hours, len(with_gpus), None if price is None else price * gpu_hours, pool.currency)


def _gpus(pod: Mapping[str, Any], resource: str) -> int:
    containers = pod.get("spec", {}).get("containers", [])
    limits = [(container.get("resources") or {}).get("limits") or {} for container in containers]
    return sum(int(limit.get(resource, 0)) for limit in limits)


def _hours(pod: Mapping[str, Any], now: datetime) -> float:
    # A pod holds its GPUs from the start of its first container to the end of its last one.
    states = [status.get("state") or {} for status in pod.get("status", {}).get("containerStatuses") or []]
    runs = [state.get("terminated") or state.get("running") for state in states]
    started = [_time(run["startedAt"]) for run in runs if run and run.get("startedAt")]
    if not started:
        return 0.0
    ended = [_time(run["finishedAt"]) if run.get("finishedAt") else now for run in runs if run]
    return max(0.0, (max(ended) - min(started)).total_seconds() / 3600)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
