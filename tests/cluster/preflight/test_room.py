"""Checks of the room for a run's steps: nodes, quotas, limits of a namespace, and Kueue's queue."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.preflight.doubles import KubernetesDouble, cluster_queue, node, pod
from tests.cluster.preflight.test_cluster_checks import assert_finding
from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight import needs_of
from vicur.cluster.preflight.checks.queue import queue
from vicur.cluster.preflight.checks.quota import limits, quota
from vicur.cluster.preflight.checks.step_sizes import step_sizes
from vicur.cluster.request import Request, resolved
from vicur.config.preflight import PreflightConfig
from vicur.config.run import RunConfig
from vicur.config.schema import names
from vicur.config.sizes import sized


def needs(cluster: dict[str, Any] | None = None, **values: Any) -> PreflightConfig:
    """Return the needs of a run, by default of the tiny model without GPUs."""
    return needs_of(RunConfig.model_validate({"cluster": {"gpu_count": 0, **(cluster or {})}, **values}))


LARGE = {"base": {"path": "/models/2B"}}


def sizes(needed: PreflightConfig) -> Any:
    return step_sizes(ClusterConnection(), needed)


def test_settings_of_requests_exist() -> None:
    configs = ({}, {"gpu_count": 8}, {"gpu_count": 8, "nodes": 2, "queue": "q"}, {"jobs": {"always": True}})
    settings = {step.setting for config in configs for step in needs(config).steps}
    assert settings == {"cluster.steps", "cluster.cpu_steps", "cluster.gpu_steps"}
    assert {f"{each}.{name}" for each in settings for name in ("cpu", "memory")} <= {n for n, _ in names(RunConfig)}


# --- nodes ---


def test_the_first_run_fits_the_small_node_that_it_is_documented_for(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [node("small", gpus=0, cpu="2", memory="7900Mi")]
    # What Kubeflow Pipelines, MLflow, PostgreSQL and SeaweedFS request together, roughly.
    kubernetes.pods = [pod("kfp", "small", "1500m", "3Gi")]
    assert_finding(sizes(needs()), "ok", "each step fits a node", "evaluate, train, requests 200m CPU and 2500Mi")


def test_a_step_that_fits_no_node_is_named_with_the_numbers_and_the_setting(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [node("small", gpus=0, cpu="4", memory="16Gi")]
    finding = sizes(needs(**LARGE))
    assert_finding(
        finding,
        "failed",
        "evaluate, train request 8 CPU and 64Gi of memory",
        "the largest node, small, offers 4 CPU and 16Gi of memory",
        "Set cluster.cpu_steps.cpu to at most 4 and cluster.cpu_steps.memory to at most 16Gi",
        "set cluster.autoscaled=true",
    )
    # The other steps fit.
    assert "prepare" not in finding.message


@pytest.mark.usefixtures("kubernetes")
def test_another_student_in_the_form_of_a_tiny_package_is_a_warning() -> None:
    compiled = sized(RunConfig.model_validate({"cluster": {"gpu_count": 0}}))
    asked = Request.model_validate({"student": "/models/2B", "gpu_type": "nvidia.com/gpu", "image": "vicur"})
    run = resolved(compiled.model_dump(mode="json", exclude_none=True), asked)
    assert_finding(sizes(needs_of(run)), "warning", "only the resources that the tiny model needs", "base.path")
    assert_finding(sizes(needs_of(compiled)), "ok")
    assert_finding(sizes(needs(**LARGE)), "ok")


def test_pods_of_many_nodes_are_not_listed(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [node(f"n{number}", gpus=0, cpu="2", memory="4Gi") for number in range(31)]
    assert_finding(sizes(needs()), "ok")
    assert kubernetes.requests == [("list", "", "nodes")]


def test_pods_that_keep_running_take_room_and_others_only_for_a_while(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [node("small", gpus=0, cpu="2", memory="4Gi")]
    kubernetes.pods = [pod("daemon", "small", "100m", "2Gi"), pod("elsewhere", "other", "2", "4Gi")]
    assert_finding(
        sizes(needs()), "failed", "offers 2 CPU and 4096Mi of memory, 1.9 CPU and 2048Mi", "to at most 2048Mi"
    )
    kubernetes.pods = [pod("step", "small", "100m", "2Gi", lasting=False)]
    assert_finding(sizes(needs()), "warning", "no node has free at the moment", "wait until others end")


def test_pods_of_the_run_itself_do_not_count(kubernetes: KubernetesDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    kubernetes.nodes = [node("small", gpus=0, cpu="250m", memory="3Gi")]
    kubernetes.pods = [pod("preflight", "small", "200m", "1500Mi", lasting=False, run="run-1")]
    assert_finding(sizes(needs()), "warning")
    monkeypatch.setenv("VICUR_RUN_ID", "run-1")
    assert_finding(sizes(needs()), "ok")


def test_init_containers_and_sidecars_count_as_kubernetes_counts_them(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [node("small", gpus=0, cpu="2", memory="4Gi")]
    first = {"name": "init", "image": "i", "resources": {"requests": {"memory": "3Gi"}}}
    kubernetes.pods = [pod("a", "small", "100m", "1Gi", initContainers=[first])]
    assert_finding(sizes(needs()), "failed", "1024Mi")
    kubernetes.pods = [pod("a", "small", "100m", "1Gi", initContainers=[{**first, "restartPolicy": "Always"}])]
    assert_finding(sizes(needs()), "failed", "0Mi")


def test_only_the_namespace_s_pods_are_counted_if_others_may_not_be_listed(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [node("small", gpus=0, cpu="2", memory="4Gi")]
    kubernetes.pods = [pod("daemon", "small", "100m", "2Gi")]
    kubernetes.denied = {("list", "", "pods of all namespaces")}
    assert_finding(sizes(needs()), "failed")
    kubernetes.denied |= {("list", "", "pods")}
    assert_finding(sizes(needs()), "ok")


def test_nodes_that_take_no_pods_of_the_steps_do_not_count(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [node("gpu"), node("cordoned", gpus=0, cordoned=True), node("lost", gpus=0, ready=False)]
    assert_finding(sizes(needs()), "failed", "no node accepts the pods of preflight", "Add a node")


def test_an_autoscaled_pool_makes_it_a_warning(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [node("small", gpus=0, cpu="4", memory="16Gi")]
    assert_finding(sizes(needs({"autoscaled": True}, **LARGE)), "warning", "cluster.autoscaled is set")


@pytest.mark.usefixtures("kubernetes")
def test_steps_with_gpus_must_fit_the_nodes_of_their_pool() -> None:
    pool = {"gpu_count": 8, "node_selector": {"gpu": "h100"}, "gpu_steps": {"memory": "1024Gi"}}
    assert_finding(sizes(needs(pool)), "failed", "evaluate requests 8 CPU", "cluster.gpu_steps.memory to at most 512Gi")
    assert_finding(sizes(needs({**pool, "gpu_steps": {}})), "ok")


def test_nodes_of_a_trainjob_are_checked_and_its_step_is_small(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [node("small", gpus=0, cpu="4", memory="16Gi")]
    finding = sizes(needs({"nodes": 2, "cpu_steps": {"memory": "32Gi"}}))
    assert_finding(finding, "failed", "nodes of train requests 200m CPU and 32Gi")


def test_account_that_may_not_list_nodes_is_told_what_to_compare(kubernetes: KubernetesDouble) -> None:
    kubernetes.denied = {("list", "", "nodes")}
    assert_finding(sizes(needs()), "warning", "may not list nodes", "2500Mi", "kubectl describe nodes")


# --- quotas and limits ---


@pytest.mark.parametrize(
    ("key", "hard", "used", "status", "words"),
    [
        (
            "requests.memory",
            "20Gi",
            "0",
            "failed",
            "allows 20Gi of memory, but each pod of evaluate, train requests 64Gi",
        ),
        ("memory", "100Gi", "60Gi", "warning", "has 40Gi of 100Gi of memory left"),
        ("limits.cpu", "4", "0", "failed", "allows 4 CPU, but each pod of evaluate, train has a limit of 8 CPU"),
        ("requests.cpu", "16", "4", "ok", "the steps are within the quotas"),
        ("pods", "0", "0", "ok", "the steps are within the quotas"),
    ],
)
def test_quota_must_allow_the_largest_pod(
    kubernetes: KubernetesDouble, key: str, hard: str, used: str, status: str, words: str
) -> None:
    kubernetes.quotas = [{"metadata": {"name": "q"}, "spec": {}, "status": {"hard": {key: hard}, "used": {key: used}}}]
    finding = quota(ClusterConnection(), needs(**LARGE))
    assert_finding(finding, status, words)
    assert ("cluster.cpu_steps." in finding.remedy) == (status == "failed")


def test_quota_for_other_pods_does_not_count(kubernetes: KubernetesDouble) -> None:
    few = {"hard": {"memory": "1Gi"}, "used": {}}
    kubernetes.quotas = [{"metadata": {"name": "q"}, "spec": {"scopes": ["BestEffort"]}, "status": few}]
    assert_finding(quota(ClusterConnection(), needs(**LARGE)), "ok")


@pytest.mark.parametrize(
    ("limit", "status", "words"),
    [
        (
            {"type": "Container", "max": {"memory": "2Gi"}},
            "failed",
            "evaluate, train: the limit of 2500Mi of memory exceeds",
        ),
        (
            {"type": "Pod", "max": {"cpu": "500m"}},
            "failed",
            "the limit of 1 CPU exceeds the maximum of 500m CPU of a pod",
        ),
        (
            {"type": "Container", "min": {"cpu": "250m"}},
            "failed",
            "the request of 200m CPU is below the minimum of 250m",
        ),
        (
            {"type": "Pod", "maxLimitRequestRatio": {"cpu": "4"}},
            "failed",
            "the cpu limit is more than 4 times the request",
        ),
        ({"type": "Pod", "maxLimitRequestRatio": {"cpu": "5"}}, "ok", "admit each step"),
        ({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}, "ok", "admit each step"),
        ({"type": "Container", "max": {"memory": "4Gi"}}, "ok", "admit each step"),
    ],
)
def test_limits_of_the_namespace_must_admit_each_step(
    kubernetes: KubernetesDouble, limit: dict[str, Any], status: str, words: str
) -> None:
    kubernetes.limits = [{"metadata": {"name": "l"}, "spec": {"limits": [limit]}}]
    assert_finding(limits(ClusterConnection(), needs()), status, words)


def test_limits_that_may_not_be_listed_are_a_warning(kubernetes: KubernetesDouble) -> None:
    kubernetes.denied = {("list", "", "limitranges")}
    assert_finding(limits(ClusterConnection(), needs()), "warning", "cannot be listed (HTTP 403)")


# --- Kueue ---

POOL = {"gpu_count": 8, "queue": "gpu-h100"}


@pytest.mark.parametrize(
    ("quotas", "changes", "status", "words"),
    [
        ({"cpu": "64", "memory": "512Gi", "gpu": "8"}, {}, "ok", "has a quota for each queued step"),
        ({"cpu": "64", "memory": "512Gi", "gpu": "4"}, {}, "failed", "8 nvidia.com/gpu, and the largest quota is"),
        ({"cpu": "4", "memory": "512Gi", "gpu": "8"}, {}, "failed", "evaluate: it needs 8 CPU"),
        ({"gpu": "8"}, {}, "failed", "does not cover cpu and memory, which evaluate requests"),
        ({"cpu": "64", "memory": "512Gi", "gpu": "8"}, {"nodes": 2}, "failed", "nodes of train: it needs 16 CPU"),
    ],
)
def test_cluster_queue_needs_a_quota_for_each_queued_step(
    kubernetes: KubernetesDouble, quotas: dict[str, str], changes: dict[str, Any], status: str, words: str
) -> None:
    kubernetes.cluster_queues = {"gpus": cluster_queue("gpus", **quotas)}
    needed = needs({**POOL, **changes})
    assert_finding(queue(ClusterConnection(), "vicur", "gpu-h100", needed.steps), status, words)


def test_queue_in_a_cohort_may_borrow(kubernetes: KubernetesDouble) -> None:
    kubernetes.cluster_queues = {"gpus": cluster_queue("gpus", cpu="64", memory="512Gi", gpu="4")}
    kubernetes.cluster_queues["gpus"]["spec"]["cohortName"] = "all"
    finding = queue(ClusterConnection(), "vicur", "gpu-h100", needs(POOL).steps)
    assert_finding(finding, "warning", "unless it can borrow")


def test_quota_of_a_queue_that_may_not_be_read_is_a_warning(kubernetes: KubernetesDouble) -> None:
    kubernetes.denied = {("get", "kueue.x-k8s.io", "clusterqueues")}
    finding = queue(ClusterConnection(), "vicur", "gpu-h100", needs(POOL).steps)
    assert_finding(finding, "warning", "ClusterQueue gpus cannot be read (HTTP 403)", "train 8 CPU and 64Gi of memory")
