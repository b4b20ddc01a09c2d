"""Checks of the cluster against a double of its API: release, API groups, GPU pool, quotas, queues, rights."""

from __future__ import annotations

import json
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.preflight.doubles import KubernetesDouble, kubeconfig, node, serving, stopped_queue
from tests.tracking.server import free_port
from vicur.cluster.connection import ClusterConnection, NoClusterError
from vicur.cluster.preflight.api_groups import ARGO, KUEUE, TRAINER, api_group
from vicur.cluster.preflight.check import Finding
from vicur.cluster.preflight.checks.cluster import release
from vicur.cluster.preflight.checks.gpu_pool import gpu_pool
from vicur.cluster.preflight.checks.queue import queue
from vicur.cluster.preflight.checks.quota import quota
from vicur.cluster.preflight.checks.trainer import NEEDED, access
from vicur.config.cluster import Toleration
from vicur.config.preflight import GpuPool, PreflightConfig

TOLERATED = (Toleration(key="nvidia.com/gpu", operator="Exists"),)
POOL = GpuPool(gpus=8, node_selector={"gpu": "h100"}, tolerations=TOLERATED)


def assert_finding(finding: Finding, status: str, *words: str) -> None:
    assert finding.status == status, finding
    for word in words:
        assert word in f"{finding.message} {finding.remedy}", finding


# --- the cluster ---


def test_missing_kubeconfig_is_reported_with_how_to_get_one() -> None:
    with pytest.raises(NoClusterError, match="no cluster is configured") as caught:
        release(ClusterConnection())
    assert "~/.kube/config" in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [b"not: [a kubeconfig", b"{}", b"apiVersion: v1\nkind: Config\ncurrent-context: gone\n", b"[]", b"5", b"\xff\xfe"],
)
def test_invalid_kubeconfig_is_reported(place: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    (place / "kubeconfig").write_bytes(text)
    monkeypatch.setenv("KUBECONFIG", str(place / "kubeconfig"))
    with pytest.raises(NoClusterError, match="no cluster is configured"):
        release(ClusterConnection())


def test_unreachable_cluster_is_reported_with_its_address(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    (place / "kubeconfig").write_text(kubeconfig(address, "t"))
    monkeypatch.setenv("KUBECONFIG", str(place / "kubeconfig"))
    with pytest.raises(NoClusterError, match="does not respond") as caught:
        release(ClusterConnection())
    assert caught.value.where == address


@pytest.mark.parametrize("page", [b"<html>Log in</html>", b"null", b"{}", b"[]", b'{"items": 5, "groups": 5}', b"\xff"])
def test_response_of_something_else_is_not_mistaken_for_a_cluster(
    place: Path, monkeypatch: pytest.MonkeyPatch, page: bytes
) -> None:
    with serving(lambda *_: (200, page)) as address:
        (place / "config").write_text(kubeconfig(address, "x"))
        monkeypatch.setenv("KUBECONFIG", str(place / "config"))
        for look in (release, partial(api_group, group=ARGO), partial(gpu_pool, pool=GpuPool())):
            with pytest.raises(NoClusterError, match="does not come from a Kubernetes API"):
                look(ClusterConnection())


def test_server_error_is_not_reported_as_an_expired_login(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda *_: (500, b"{}")) as address:
        (place / "config").write_text(kubeconfig(address, "x"))
        monkeypatch.setenv("KUBECONFIG", str(place / "config"))
        for look in (release, partial(api_group, group=ARGO), partial(gpu_pool, pool=GpuPool())):
            assert_finding(look(ClusterConnection()), "failed", "failed to return", "(HTTP 500)", "Try again")


def test_cluster_that_closes_the_connection_is_reported(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (place / "kubeconfig").write_text(kubeconfig(f"http://127.0.0.1:{listener.getsockname()[1]}", "t"))
        monkeypatch.setenv("KUBECONFIG", str(place / "kubeconfig"))
        monkeypatch.setattr("vicur.cluster.connection.TIMEOUT", (0.5, 0.5))
        with pytest.raises(NoClusterError, match="does not respond"):
            release(ClusterConnection())


def test_invalid_certificate_is_not_reported_as_an_expired_login(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = json.loads(kubeconfig(f"https://127.0.0.1:{listener.getsockname()[1]}", "t"))
        config["clusters"][0]["cluster"]["certificate-authority-data"] = "bm9uZQ=="
        (place / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(place / "kubeconfig"))
        with pytest.raises(NoClusterError, match="no trusted connection") as caught:
            release(ClusterConnection())
    assert "certificate-authority" in caught.value.remedy


def test_old_release_fails(kubernetes: KubernetesDouble) -> None:
    assert_finding(release(ClusterConnection()), "ok", "Kubernetes v1.33+")
    kubernetes.minor = "25"
    assert_finding(release(ClusterConnection()), "failed", "v1.25", "is not supported", "1.29 or later")


def test_rejected_credentials_are_reported_but_not_shown(kubernetes: KubernetesDouble) -> None:
    token, kubernetes.token = kubernetes.token, "another"
    for finding in (
        release(ClusterConnection()),
        api_group(ClusterConnection(), ARGO),
        gpu_pool(ClusterConnection(), POOL),
        access(ClusterConnection(), "vicur"),
    ):
        assert_finding(finding, "failed", "401")
        assert token not in f"{finding.message} {finding.remedy}"


# --- API groups ---


@pytest.mark.parametrize(
    ("served", "status", "words"),
    [
        (["v1beta2", "v1beta1"], "ok", "kueue.x-k8s.io v1beta2"),
        (["v1beta1"], "ok", "kueue.x-k8s.io v1beta1"),
        (["v1alpha9"], "failed", "serves kueue.x-k8s.io as v1alpha9, but vicur supports v1beta2 and v1beta1"),
        (None, "failed", "Install Kueue"),
    ],
)
def test_api_group_is_served_in_a_supported_version(
    kubernetes: KubernetesDouble, served: list[str] | None, status: str, words: str
) -> None:
    del kubernetes.groups[KUEUE.name]
    if served:
        kubernetes.groups[KUEUE.name] = served
    assert_finding(api_group(ClusterConnection(), KUEUE), status, words)
    assert_finding(api_group(ClusterConnection(), TRAINER), "ok", "v1alpha1")


# --- the GPU pool ---


POOLS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "as it is": ({}, "ok", ["2 node(s) with gpu=h100 are ready for 8 nvidia.com/gpu each"]),
    "all of it": ({"nodes": 2}, "ok", ["2 node(s)"]),
    "any node": ({"node_selector": {}, "gpus": 1}, "ok", ["3 node(s) with any labels"]),
    "more nodes than there are": ({"nodes": 3}, "failed", ["3 are required", "Request fewer nodes"]),
    "another label": (
        {"node_selector": {"gpu": "a100"}},
        "failed",
        ["no node has the labels gpu=a100", "nodes have gpu=h100 or l4"],
    ),
    "an unknown label": ({"node_selector": {"zone": "x"}}, "failed", ["no node has the label zone"]),
    "larger nodes": ({"gpus": 16}, "failed", ["has more than 8", "16 are required"]),
    "another resource": ({"resource": "amd.com/gpu"}, "failed", ["offer no amd.com/gpu", "device plugin"]),
    "no toleration": (
        {"tolerations": ()},
        "failed",
        ["taint nvidia.com/gpu=present:NoSchedule", "{key: nvidia.com/gpu, value: 'present', effect: NoSchedule}"],
    ),
    "a pool that grows": (
        {"node_selector": {"gpu": "a100"}, "autoscaled": True},
        "warning",
        ["no node has the labels", "configured as autoscaled"],
    ),
}


@pytest.mark.parametrize("case", POOLS)
@pytest.mark.usefixtures("kubernetes")
def test_pool_is_found_or_the_obstacle_is_reported(case: str) -> None:
    changes, status, words = POOLS[case]
    assert_finding(gpu_pool(ClusterConnection(), POOL.model_copy(update=changes)), status, *words)


def test_nodes_that_do_not_accept_pods_do_not_count(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [node("a", cordoned=True, gpu="h100"), node("b", ready=False, gpu="h100")]
    kubernetes.nodes[0]["spec"]["taints"].append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    assert_finding(gpu_pool(ClusterConnection(), POOL), "failed", "0 node(s) with gpu=h100 are ready")
    kubernetes.nodes = []
    assert_finding(gpu_pool(ClusterConnection(), GpuPool()), "failed", "Add GPU nodes")


def test_gpus_on_the_last_page_of_nodes_are_found(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [*(node(f"cpu-{number}", gpus=0) for number in range(600)), node("last", gpus=8)]
    tolerations = ({"key": "nvidia.com/gpu", "operator": "Exists"},)
    pool = GpuPool.model_validate({"gpus": 8, "tolerations": tolerations})
    assert_finding(gpu_pool(ClusterConnection(), pool), "ok", "1 node(s) with any labels are ready")


def test_account_without_the_right_to_list_nodes_gets_a_warning(kubernetes: KubernetesDouble) -> None:
    kubernetes.denied.add(("list", "", "nodes"))
    assert_finding(
        gpu_pool(ClusterConnection(), POOL), "warning", "may not list nodes", "kubectl get nodes --show-labels"
    )


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": "nvidia.com/gpu", "value": "present"}, True),
        ({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}, True),
        ({"key": "nvidia.com/gpu", "value": "other"}, False),
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "nvidia.com/gpu"}, False),
    ],
)
@pytest.mark.usefixtures("kubernetes")
def test_toleration_matches_by_kubernetes_rules(toleration: dict[str, str], tolerated: bool) -> None:
    pool = POOL.model_copy(update={"tolerations": (Toleration(**toleration),)})
    assert_finding(gpu_pool(ClusterConnection(), pool), "ok" if tolerated else "failed")


# --- quotas and queues ---


@pytest.mark.parametrize(
    ("hard", "used", "status", "words"),
    [
        ("16", "8", "ok", "8 nvidia.com/gpu are within the quotas of the namespace vicur"),
        ("16", "9", "warning", "has 7 of 16 nvidia.com/gpu left, but 8 are required"),
        ("4", "0", "failed", "allows 4 nvidia.com/gpu, but 8 are required"),
        ("1k", "0", "ok", "are within the quotas"),
    ],
)
def test_quota_has_enough_gpus_left(
    kubernetes: KubernetesDouble, hard: str, used: str, status: str, words: str
) -> None:
    key = "requests.nvidia.com/gpu"
    kubernetes.quotas = [
        {"metadata": {"name": "pods"}, "status": {"hard": {"pods": "10"}, "used": {"pods": "1"}}},
        {"metadata": {"name": "gpus"}, "status": {"hard": {key: hard}, "used": {key: used}}},
    ]
    assert_finding(quota(ClusterConnection(), PreflightConfig(pool=POOL)), status, words)


def test_queue_accepts_work_or_the_reason_is_reported(kubernetes: KubernetesDouble) -> None:
    assert_finding(queue(ClusterConnection(), "vicur", "gpu-h100"), "ok", "accepts work")
    assert_finding(queue(ClusterConnection(), "vicur", "gpu"), "failed", "has no LocalQueue gpu, but gpu-h100")
    kubernetes.queues = [stopped_queue("gpu-h100", "Can't submit new workloads to clusterQueue")]
    assert_finding(
        queue(ClusterConnection(), "vicur", "gpu-h100"), "failed", "does not accept work: Can't submit new workloads"
    )
    del kubernetes.groups["kueue.x-k8s.io"]
    assert_finding(queue(ClusterConnection(), "vicur", "gpu-h100"), "failed", "Install Kueue")


def test_quota_counts_the_gpus_of_a_trainings_servers(kubernetes: KubernetesDouble) -> None:
    kubernetes.quotas = [
        {"metadata": {"name": "team"}, "status": {"hard": {"requests.nvidia.com/gpu": "9"}, "used": {}}}
    ]
    assert_finding(quota(ClusterConnection(), PreflightConfig(pool=POOL)), "ok", "8 nvidia.com/gpu are within")
    pool = POOL.model_copy(update={"server_gpus": 3})
    reason = "allows 9 nvidia.com/gpu, but 11 are required, 3 of them by the servers of the training"
    assert_finding(quota(ClusterConnection(), PreflightConfig(pool=pool)), "failed", reason, "replicas")


def test_account_without_the_right_to_list_quotas_and_queues_gets_a_warning(kubernetes: KubernetesDouble) -> None:
    kubernetes.denied |= {("list", "", "resourcequotas"), ("list", "kueue.x-k8s.io", "localqueues")}
    assert_finding(quota(ClusterConnection(), PreflightConfig(pool=POOL)), "warning", "cannot be listed (HTTP 403)")
    assert_finding(queue(ClusterConnection(), "vicur", "gpu-h100"), "warning", "cannot be listed (HTTP 403)")


# --- rights ---


def test_missing_rights_are_named(kubernetes: KubernetesDouble) -> None:
    assert_finding(access(ClusterConnection(), "vicur"), "ok")
    kubernetes.denied |= {("create", "trainer.kubeflow.org", "trainjobs"), ("get", "", "pods/log")}
    assert_finding(
        access(ClusterConnection(), "vicur"), "failed", "may not create trainjobs, get pods/log", "k8s/base/access"
    )


def test_each_missing_right_is_noticed(kubernetes: KubernetesDouble) -> None:
    for group, resource, verb in NEEDED:
        kubernetes.denied = {(verb, group, resource)}
        assert_finding(access(ClusterConnection(), "vicur"), "failed", f"may not {verb} {resource}")
