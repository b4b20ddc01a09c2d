"""Checks that ask a cluster, against a double of its API: the GPU pool, quotas, queues, interfaces, rights."""

from __future__ import annotations

import json
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.preflight.doubles import KubernetesDouble, kubeconfig, node, serving, stopped_queue
from tests.tracking.server import free_port
from vicur.cluster.preflight.access import NEEDED, access
from vicur.cluster.preflight.finding import Finding
from vicur.cluster.preflight.interfaces import ARGO, KUEUE, TRAINER, interface, release
from vicur.cluster.preflight.link import Link, NoClusterError
from vicur.cluster.preflight.pool import gpu_pool
from vicur.cluster.preflight.room import queue, quota
from vicur.config.cluster import Toleration
from vicur.config.preflight import GpuPool

TOLERATED = (Toleration(key="nvidia.com/gpu", operator="Exists"),)
POOL = GpuPool(gpus=8, node_selector={"gpu": "h100"}, tolerations=TOLERATED)


def says(finding: Finding, status: str, *words: str) -> None:
    assert finding.status == status, finding
    for word in words:
        assert word in f"{finding.what} {finding.remedy}", finding


# --- the cluster ---


def test_without_a_kubeconfig_there_is_no_cluster_and_a_way_to_get_one() -> None:
    with pytest.raises(NoClusterError, match="no cluster is named") as caught:
        release(Link())
    assert "~/.kube/config" in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [b"not: [a kubeconfig", b"{}", b"apiVersion: v1\nkind: Config\ncurrent-context: gone\n", b"[]", b"5", b"\xff\xfe"],
)
def test_a_kubeconfig_that_is_none_is_told(place: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    (place / "kubeconfig").write_bytes(text)
    monkeypatch.setenv("KUBECONFIG", str(place / "kubeconfig"))
    with pytest.raises(NoClusterError, match="no cluster is named"):
        release(Link())


def test_a_cluster_that_does_not_answer_is_told_with_its_address(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    (place / "kubeconfig").write_text(kubeconfig(address, "t"))
    monkeypatch.setenv("KUBECONFIG", str(place / "kubeconfig"))
    with pytest.raises(NoClusterError, match="does not answer") as caught:
        release(Link())
    assert caught.value.where == address


@pytest.mark.parametrize("page", [b"<html>Log in</html>", b"null", b"{}", b"[]", b'{"items": 5, "groups": 5}', b"\xff"])
def test_what_answers_in_its_place_is_not_taken_for_a_cluster(
    place: Path, monkeypatch: pytest.MonkeyPatch, page: bytes
) -> None:
    with serving(lambda *_: (200, page)) as address:
        (place / "config").write_text(kubeconfig(address, "x"))
        monkeypatch.setenv("KUBECONFIG", str(place / "config"))
        for look in (release, partial(interface, wanted=ARGO), partial(gpu_pool, pool=GpuPool())):
            with pytest.raises(NoClusterError, match="not as Kubernetes does"):
                look(Link())


def test_a_cluster_in_trouble_is_not_told_as_a_login_that_has_expired(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda *_: (500, b"{}")) as address:
        (place / "config").write_text(kubeconfig(address, "x"))
        monkeypatch.setenv("KUBECONFIG", str(place / "config"))
        for look in (release, partial(interface, wanted=ARGO), partial(gpu_pool, pool=GpuPool())):
            says(look(Link()), "failed", "in trouble", "(500)", "Try again")


def test_a_cluster_that_hangs_up_is_no_surprise(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (place / "kubeconfig").write_text(kubeconfig(f"http://127.0.0.1:{listener.getsockname()[1]}", "t"))
        monkeypatch.setenv("KUBECONFIG", str(place / "kubeconfig"))
        monkeypatch.setattr("vicur.cluster.preflight.link.TIMEOUT", (0.5, 0.5))
        with pytest.raises(NoClusterError, match="does not answer"):
            release(Link())


def test_certificates_that_are_none_are_not_told_as_a_login_that_has_expired(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = json.loads(kubeconfig(f"https://127.0.0.1:{listener.getsockname()[1]}", "t"))
        config["clusters"][0]["cluster"]["certificate-authority-data"] = "bm9uZQ=="
        (place / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(place / "kubeconfig"))
        with pytest.raises(NoClusterError, match="no connection that can be trusted") as caught:
            release(Link())
    assert "certificate-authority" in caught.value.remedy


def test_a_cluster_tells_its_release_and_an_old_one_is_refused(kubernetes: KubernetesDouble) -> None:
    says(release(Link()), "ok", "Kubernetes v1.33+")
    kubernetes.minor = "25"
    says(release(Link()), "failed", "v1.25", "is too old", "1.29 or later")


def test_credentials_that_are_not_taken_are_told_and_not_shown(kubernetes: KubernetesDouble) -> None:
    mine, kubernetes.token = kubernetes.token, "another"
    for finding in (
        release(Link()),
        interface(Link(), ARGO),
        gpu_pool(Link(), POOL),
        access(Link(), "vicur"),
    ):
        says(finding, "failed", "401")
        assert mine not in f"{finding.what} {finding.remedy}"


# --- interfaces ---


@pytest.mark.parametrize(
    ("served", "status", "words"),
    [
        (["v1beta2", "v1beta1"], "ok", "kueue.x-k8s.io v1beta2"),
        (["v1beta1"], "ok", "kueue.x-k8s.io v1beta1"),
        (["v1alpha9"], "failed", "is served as v1alpha9, and v1beta2 or v1beta1 is understood"),
        (None, "failed", "Install Kueue"),
    ],
)
def test_an_interface_is_there_in_a_version_that_is_understood(
    kubernetes: KubernetesDouble, served: list[str] | None, status: str, words: str
) -> None:
    del kubernetes.groups[KUEUE.group]
    if served:
        kubernetes.groups[KUEUE.group] = served
    says(interface(Link(), KUEUE), status, words)
    says(interface(Link(), TRAINER), "ok", "v1alpha1")


# --- the GPU pool ---


POOLS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "as it is": ({}, "ok", ["2 node(s) with gpu=h100 are ready for 8 nvidia.com/gpu each"]),
    "all of it": ({"nodes": 2}, "ok", ["2 node(s)"]),
    "any node": ({"node_selector": {}, "gpus": 1}, "ok", ["3 node(s) with any labels"]),
    "more nodes than there are": ({"nodes": 3}, "failed", ["3 are asked for", "Ask for fewer nodes"]),
    "another label": ({"node_selector": {"gpu": "a100"}}, "failed", ["no node carries gpu=a100", "gpu is h100 or l4"]),
    "an unknown label": ({"node_selector": {"zone": "x"}}, "failed", ["no node has zone"]),
    "larger nodes": ({"gpus": 16}, "failed", ["has more than 8", "16 are asked for"]),
    "another resource": ({"resource": "amd.com/gpu"}, "failed", ["offer no amd.com/gpu", "device plugin"]),
    "no toleration": (
        {"tolerations": ()},
        "failed",
        ["tainted nvidia.com/gpu=present:NoSchedule", "{key: nvidia.com/gpu, value: 'present', effect: NoSchedule}"],
    ),
    "a pool that grows": (
        {"node_selector": {"gpu": "a100"}, "autoscaled": True},
        "warning",
        ["no node carries", "said to grow by itself"],
    ),
}


@pytest.mark.parametrize("case", POOLS)
@pytest.mark.usefixtures("kubernetes")
def test_the_pool_is_found_or_what_keeps_it_away_is_told(case: str) -> None:
    changes, status, words = POOLS[case]
    says(gpu_pool(Link(), POOL.model_copy(update=changes)), status, *words)


def test_nodes_that_take_no_pods_do_not_count(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [node("a", cordoned=True, gpu="h100"), node("b", ready=False, gpu="h100")]
    kubernetes.nodes[0]["spec"]["taints"].append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    says(gpu_pool(Link(), POOL), "failed", "0 node(s) with gpu=h100 are ready")
    kubernetes.nodes = []
    says(gpu_pool(Link(), GpuPool()), "failed", "Add GPU nodes")


def test_gpus_at_the_end_of_a_large_cluster_are_found(kubernetes: KubernetesDouble) -> None:
    kubernetes.nodes = [*(node(f"cpu-{number}", gpus=0) for number in range(600)), node("last", gpus=8)]
    tolerations = ({"key": "nvidia.com/gpu", "operator": "Exists"},)
    pool = GpuPool.model_validate({"gpus": 8, "tolerations": tolerations})
    says(gpu_pool(Link(), pool), "ok", "1 node(s) with any labels are ready")


def test_an_account_that_may_not_list_nodes_is_warned_and_not_stopped(kubernetes: KubernetesDouble) -> None:
    kubernetes.denied.add(("list", "", "nodes"))
    says(gpu_pool(Link(), POOL), "warning", "may not be listed", "kubectl get nodes --show-labels")


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
def test_a_toleration_matches_as_kubernetes_decides_it(toleration: dict[str, str], tolerated: bool) -> None:
    pool = POOL.model_copy(update={"tolerations": (Toleration(**toleration),)})
    says(gpu_pool(Link(), pool), "ok" if tolerated else "failed")


# --- quotas and queues ---


@pytest.mark.parametrize(
    ("hard", "used", "status", "words"),
    [
        ("16", "8", "ok", "8 nvidia.com/gpu are within the quotas of vicur"),
        ("16", "9", "warning", "has 7 of 16 nvidia.com/gpu left, 8 are asked for"),
        ("4", "0", "failed", "allows 4 nvidia.com/gpu, 8 are asked for"),
        ("1k", "0", "ok", "are within the quotas"),
    ],
)
def test_quotas_leave_room_or_not(kubernetes: KubernetesDouble, hard: str, used: str, status: str, words: str) -> None:
    key = "requests.nvidia.com/gpu"
    kubernetes.quotas = [
        {"metadata": {"name": "pods"}, "status": {"hard": {"pods": "10"}, "used": {"pods": "1"}}},
        {"metadata": {"name": "gpus"}, "status": {"hard": {key: hard}, "used": {key: used}}},
    ]
    says(quota(Link(), "vicur", POOL), status, words)


def test_a_queue_takes_work_or_what_it_lacks_is_told(kubernetes: KubernetesDouble) -> None:
    says(queue(Link(), "vicur", "gpu-h100"), "ok", "takes work")
    says(queue(Link(), "vicur", "gpu"), "failed", "has no queue gpu, but gpu-h100")
    kubernetes.queues = [stopped_queue("gpu-h100", "Can't submit new workloads to clusterQueue")]
    says(queue(Link(), "vicur", "gpu-h100"), "failed", "takes no work: Can't submit new workloads")
    del kubernetes.groups["kueue.x-k8s.io"]
    says(queue(Link(), "vicur", "gpu-h100"), "failed", "Install Kueue")


def test_an_account_that_may_not_look_is_warned(kubernetes: KubernetesDouble) -> None:
    kubernetes.denied |= {("list", "", "resourcequotas"), ("list", "kueue.x-k8s.io", "localqueues")}
    says(quota(Link(), "vicur", POOL), "warning", "may not be listed (403)")
    says(queue(Link(), "vicur", "gpu-h100"), "warning", "may not be listed (403)")


# --- rights ---


def test_rights_that_lack_are_named(kubernetes: KubernetesDouble) -> None:
    says(access(Link(), "vicur"), "ok")
    kubernetes.denied |= {("create", "trainer.kubeflow.org", "trainjobs"), ("get", "", "pods/log")}
    says(access(Link(), "vicur"), "failed", "may not create trainjobs, get pods/log", "k8s/base/access")


def test_every_right_that_lacks_is_noticed(kubernetes: KubernetesDouble) -> None:
    for group, resource, verb in NEEDED:
        kubernetes.denied = {(verb, group, resource)}
        says(access(Link(), "vicur"), "failed", f"may not {verb} {resource}")
