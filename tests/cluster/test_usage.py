"""GPU-hours and cost of the pods that held GPUs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from vicur.cluster.usage import usage_of
from vicur.config.cluster import ClusterConfig

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def pod(
    gpus: int, started: str | None, finished: str | None = None, resource: str = "nvidia.com/gpu"
) -> dict[str, Any]:
    limits = {"cpu": "8", resource: str(gpus)} if gpus else {"cpu": "8"}
    run = {"startedAt": started} if finished is None else {"startedAt": started, "finishedAt": finished}
    state = {} if started is None else {"running" if finished is None else "terminated": run}
    # Argo's wait container starts before the step's container.
    return {
        "spec": {"containers": [{"name": "main", "resources": {"limits": limits}}, {"name": "wait", "resources": {}}]},
        "status": {"containerStatuses": [{"name": "main", "state": state}, {"name": "wait", "state": {}}]},
    }


def test_hours_times_gpus_of_ended_and_running_pods() -> None:
    pods = [
        pod(8, "2026-01-01T08:00:00Z", "2026-01-01T10:30:00Z"),  # an attempt that was evicted
        pod(8, "2026-01-01T11:00:00Z"),  # and the one that runs
        pod(0, "2026-01-01T00:00:00Z", "2026-01-01T09:00:00Z"),
        pod(4, None),  # waits for a node
        pod(1, "2026-01-01T00:00:00Z", "2026-01-01T09:00:00Z", resource="amd.com/gpu"),
    ]
    usage = usage_of(pods, ClusterConfig(prices={"nvidia.com/gpu": 2.0}), NOW)
    assert usage.gpu_hours == pytest.approx(8 * 2.5 + 8 * 1.0)
    assert usage.pods == 3
    assert usage.cost == pytest.approx(56.0)
    assert usage.text == "28.00 GPU-hours, 56.00 USD"


def test_the_price_of_the_pool_takes_precedence_over_that_of_the_resource() -> None:
    prices = {"NVIDIA-H100": 3.0, "nvidia.com/gpu": 1.0}
    selector = {"nvidia.com/gpu.product": "NVIDIA-H100"}
    assert ClusterConfig(prices=prices, node_selector=selector).price() == 3.0
    assert ClusterConfig(prices=prices).price() == 1.0


def test_without_a_price_the_cost_is_reported_as_unknown() -> None:
    usage = usage_of([pod(1, "2026-01-01T11:00:00Z")], ClusterConfig(), NOW)
    assert usage.cost is None
    assert usage.text == "1.00 GPU-hours (cluster.prices has no price for this GPU)"


def test_jobs_whose_pods_have_been_removed_count() -> None:
    pool = ClusterConfig(prices={"nvidia.com/gpu": 2.0})
    usage = usage_of([pod(1, "2026-01-01T11:00:00Z")], pool, NOW, launched=15.0)
    assert (usage.gpu_hours, usage.cost) == (16.0, 32.0)


def test_a_pod_without_a_status_counts_nothing() -> None:
    assert usage_of([{"spec": {}}, {}], ClusterConfig(), NOW).gpu_hours == 0
