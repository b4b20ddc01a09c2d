"""GPU-hours of a run and what they cost, from the times of its pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vicur.config.cluster import ClusterConfig

GPU_HOURS = "usage/gpu_hours"
"""The figure in MLflow: of the whole run, and of each training that was a job of its own."""


@dataclass(frozen=True)
class Usage:
    """What a run used.

    Attributes:
        gpu_hours: hours times GPUs of all pods, those of failed attempts included.
        pods: pods that held a GPU and are there still.
        cost: what they cost; ``None`` without a price for the pool's GPU.
        currency: of ``cost``.
    """

    gpu_hours: float
    pods: int
    cost: float | None
    currency: str

    @property
    def words(self) -> str:
        """For people."""
        held = f"{self.gpu_hours:.2f} GPU-hours"
        if self.cost is None:
            return f"{held}; no price for this pool's GPU is in cluster.prices"
        return f"{held}, {self.cost:.2f} {self.currency}"


def usage_of(pods: Iterable[Mapping[str, Any]], pool: ClusterConfig, now: datetime, launched: float = 0.0) -> Usage:
    """What pods used until ``now``.

    Args:
        pods: pods as the API returns them (JSON).
        pool: the pool, with its GPU's resource name and its prices.
        now: when pods that still run are counted to.
        launched: GPU-hours of jobs whose pods are gone by now, as those who removed them have counted.
    """
    held = [(gpus, _hours(pod, now)) for pod in pods if (gpus := _gpus(pod, pool.gpu_type))]
    gpu_hours = launched + sum(gpus * hours for gpus, hours in held)
    price = pool.price()
    return Usage(gpu_hours, len(held), None if price is None else price * gpu_hours, pool.currency)


def _gpus(pod: Mapping[str, Any], resource: str) -> int:
    """GPUs that a pod holds, which it does from its first container's start to its last one's end."""
    containers = pod.get("spec", {}).get("containers", [])
    limits = [(container.get("resources") or {}).get("limits") or {} for container in containers]
    return sum(int(limit.get(resource, 0)) for limit in limits)


def _hours(pod: Mapping[str, Any], now: datetime) -> float:
    states = [status.get("state") or {} for status in pod.get("status", {}).get("containerStatuses") or []]
    runs = [state.get("terminated") or state.get("running") for state in states]
    started = [_time(run["startedAt"]) for run in runs if run and run.get("startedAt")]
    if not started:
        return 0.0
    ended = [_time(run["finishedAt"]) if run.get("finishedAt") else now for run in runs if run]
    return max(0.0, (max(ended) - min(started)).total_seconds() / 3600)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
