"""Waiting for services: what is shown, and when waiting ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import Command
from tests.cluster.install.kubernetes_double import KubernetesDouble, Workload
from vicur.cluster.install.workloads import states

PULL = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}}]}
CRASH = {
    "containerStatuses": [
        {
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
            "lastState": {"terminated": {"exitCode": 137}},
        }
    ]
}
NO_ROOM = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes: Insufficient cpu.",
        }
    ]
}
STARTING = {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}
UNREADY = {"containerStatuses": [{"state": {"running": {}}, "ready": False}]}
EXITED = {"containerStatuses": [{"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}
LABELS = {"app.kubernetes.io/name": "mlflow"}


def deployment(status: dict[str, Any] | None = None, generation: int = 1) -> dict[str, Any]:
    pod = {"metadata": {"labels": LABELS}, "spec": {"containers": []}}
    meta = {"name": "mlflow", "generation": generation}
    spec = {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": pod}
    return {"kind": "Deployment", "metadata": meta, "spec": spec, "status": status or {}}


def pod(status: dict[str, Any], labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "x", "labels": LABELS if labels is None else labels}, "status": status}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (PULL, "ImagePullBackOff: no such tag"),
        (CRASH, "CrashLoopBackOff: back-off 10s (last exit status 137)"),
        (NO_ROOM, "Unschedulable: 0/1 nodes: Insufficient cpu."),
        (STARTING, "ContainerCreating"),
        (UNREADY, "running, not ready yet"),
        (EXITED, "Error: exit status 1"),
        ({}, "starting"),
    ],
)
def test_reason_comes_from_the_pods(status: dict[str, Any], reason: str) -> None:
    other = pod(PULL, {"app.kubernetes.io/name": "another"})
    (state,) = states([deployment()], [deployment(), other, pod(status)])
    assert (state.ready, state.total, state.reason) == (0, 2, reason)


def test_reason_comes_from_the_controller_without_pods() -> None:
    condition = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota: vicur",
    }
    (state,) = states([deployment()], [deployment({"conditions": [condition]})])
    assert state.reason == "FailedCreate: exceeded quota: vicur"
    (state,) = states([deployment()], [])
    assert state.reason == "not created yet"


def test_rejected_pod_is_reported_from_the_events(cluster: KubernetesDouble, vicur: Command, small: Path) -> None:
    cluster.workloads["Job/migrate"] = Workload((), polls=10_000)
    cluster.without_pods.add("Job/migrate")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "migrate.1", "namespace": "kubeflow"},
        "involvedObject": {"kind": "Job", "name": "migrate"},
        "reason": "FailedCreate",
        "message": "exceeded quota: vicur",
    }
    cluster.add(event)
    done = vicur("install", "dev", f"--manifests={small}", "--timeout", "0.01")
    assert done.code == 1
    assert "Job/migrate 0/1: FailedCreate: exceeded quota: vicur" in done.error


def test_deployment_is_ready_when_all_replicas_of_its_generation_are() -> None:
    done = {"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 2}
    assert states([deployment()], [deployment(done, 2)])[0].is_ready
    assert not states([deployment()], [deployment(done, 3)])[0].is_ready
    assert not states([deployment()], [deployment({**done, "updatedReplicas": 1}, 2)])[0].is_ready


def test_progress_is_printed_when_it_changes(cluster: KubernetesDouble, vicur: Command, small: Path) -> None:
    cluster.workloads["Deployment/mlflow"] = Workload((PULL,), polls=3)
    done = vicur("install", "dev", f"--manifests={small}")
    assert done.code == 0, done.error
    lines = [line for line in done.output.splitlines() if line.startswith("Deployment/mlflow")]
    assert lines == ["Deployment/mlflow: 0/1 ImagePullBackOff: no such tag", "Deployment/mlflow: 1/1"]


def test_time_limit_names_what_is_not_ready_and_why(cluster: KubernetesDouble, vicur: Command, small: Path) -> None:
    cluster.workloads["Deployment/mlflow"] = Workload((NO_ROOM,), polls=10_000)
    done = vicur("install", "dev", f"--manifests={small}", "--timeout", "0.01")
    assert done.code == 1
    assert "Deployment/mlflow 0/1: Unschedulable: 0/1 nodes: Insufficient cpu." in done.error
    assert "kubectl -n kubeflow describe deployment/mlflow" in done.error


def test_failed_job_ends_waiting_and_the_next_installation_replaces_it(
    cluster: KubernetesDouble, vicur: Command, small: Path
) -> None:
    failed = {
        "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}]
    }
    cluster.workloads["Job/migrate"] = Workload(status=failed, polls=2)
    done = vicur("install", "dev", f"--manifests={small}")
    assert done.code == 1
    assert "Job/migrate has failed (BackoffLimitExceeded: too often)" in done.error
    assert "kubectl -n kubeflow logs job/migrate" in done.error
    cluster.changes()
    done = vicur("install", "dev", f"--manifests={small}")
    assert done.code == 0, done.error
    assert cluster.changes() == {("delete", "Job/migrate"): 1, ("create", "Job/migrate"): 1}


def test_job_of_an_earlier_release_is_replaced(cluster: KubernetesDouble, vicur: Command, small: Path) -> None:
    assert vicur("install", "dev", f"--manifests={small}").code == 0
    file = small / "overlays" / "dev" / "all.yaml"
    file.write_text(file.read_text().replace('name: migrate, image: "mlflow:1"', 'name: migrate, image: "mlflow:2"'))
    shown = vicur("install", "dev", f"--manifests={small}", "--dry-run")
    assert "± job.batch/migrate" in shown.output
    cluster.changes()
    assert vicur("install", "dev", f"--manifests={small}").code == 0
    assert cluster.changes() == {("delete", "Job/migrate"): 1, ("create", "Job/migrate"): 1}


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ("other-password", "MLflow has a user vicur with another password than the secret vicur-mlflow"),
        ("admin-rejected", "MLflow rejects the administrator's password of the secret vicur-mlflow-server"),
    ],
)
def test_user_that_cannot_be_created_is_reported(
    cluster: KubernetesDouble, vicur: Command, small: Path, outcome: str, message: str
) -> None:
    cluster.execute = lambda *_: outcome
    done = vicur("install", "dev", f"--manifests={small}")
    assert done.code == 1
    assert message in done.error
