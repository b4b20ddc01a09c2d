"""``vicur status`` with doubles of Kubeflow Pipelines and Kubernetes and a real MLflow server, and without each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from vicur_pipelines.status.cluster import usage_texts

from tests.cli.calling import Result
from tests.pipelines.kfp_server_double import KfpServerDouble, node
from tests.pipelines.kubernetes_double import KubernetesDouble, api_groups, serving_kubernetes
from tests.pipelines.submitting import SECRET
from tests.tracking.server import ENVIRONMENT, free_port, shared_server

KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/kubeflow/trainjobs"
PODS = "/api/v1/namespaces/kubeflow/pods"
OURS = {"app.kubernetes.io/part-of": "vicur", "pipeline/runid": "run-1", "vicur.dev/task": "train"}


@dataclass
class Setup:
    """The servers that the command talks to."""

    kfp: KfpServerDouble
    cluster: KubernetesDouble
    run: Any

    def status(self, *arguments: str) -> Result:
        return self.run("status", "--endpoint", self.kfp.endpoint, *arguments)

    def record(self, *arguments: str) -> dict[str, Any]:
        result = self.status("--json", *arguments)
        assert result.code == 0, result.error
        return dict(json.loads(result.output))


@pytest.fixture
def setup(
    kfp: KfpServerDouble, vicur, hidden_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Setup]:
    del hidden_cluster
    for name in ("KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_EXISTING_TOKEN", "KFP_SSL_CA_CERT", *ENVIRONMENT):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    with serving_kubernetes(KubernetesDouble({PODS: []})) as cluster:
        cluster.objects["/apis/"] = api_groups()
        (tmp_path / "kubeconfig").write_text(cluster.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield Setup(kfp, cluster, vicur)


def use_kueue(cluster: KubernetesDouble) -> None:
    cluster.objects["/apis/"] = api_groups(kueue="kueue.x-k8s.io/v1beta2", trainer="trainer.kubeflow.org/v1alpha1")
    local = {
        "metadata": {"name": "gpu"},
        "spec": {"clusterQueue": "pool"},
        "status": {"pendingWorkloads": 1, "admittedWorkloads": 2},
    }
    cluster.lists |= {f"{KUEUE}/namespaces/kubeflow/{kind}": [] for kind in ("localqueues", "workloads")} | {JOBS: []}
    cluster.lists[f"{KUEUE}/namespaces/kubeflow/localqueues"] = [local]
    flavors = [{"name": "h100", "resources": [{"name": "nvidia.com/gpu", "nominalQuota": 8}]}]
    used = [{"name": "h100", "resources": [{"name": "nvidia.com/gpu", "total": "6", "borrowed": "0"}]}]
    cluster.objects[f"{KUEUE}/clusterqueues/pool"] = {
        "metadata": {"name": "pool"},
        "spec": {"resourceGroups": [{"coveredResources": ["nvidia.com/gpu"], "flavors": flavors}]},
        "status": {"flavorsUsage": used},
    }


def pending(name: str, labels: dict[str, str], **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "status": {"phase": "Pending", **status}}


def test_running_runs_show_their_steps_and_ended_ones_their_verdict(setup: Setup, submit, kfp) -> None:
    for _ in range(4):
        submit("--no-follow")
    for run_id, states in {"run-1": ["FAILED"], "run-2": ["CANCELING", "FAILED"], "run-3": ["SUCCEEDED"]}.items():
        for state in states:
            kfp._advance(kfp.runs[run_id], state)
    kfp._advance(kfp.runs["run-4"], "RUNNING")
    kfp.script = [("RUNNING", [node("base", "SUCCEEDED", 1, 2), node("train", "RUNNING", 3, iteration=0)])]
    runs = setup.record()["runs"]
    assert [(run["run_id"], run["state"]) for run in runs] == [
        ("run-4", "RUNNING"),
        ("run-3", "SUCCEEDED"),
        ("run-2", "CANCELED"),
        ("run-1", "FAILED"),
    ]
    assert runs[0]["steps"] == ["train vicur"]
    assert runs[0]["address"] == f"{kfp.endpoint}/#/runs/details/run-4"
    # Runs under way do not count as last ones.
    assert [run["run_id"] for run in setup.record("--last", "1")["runs"]] == ["run-4", "run-3"]
    output = setup.status().output
    assert f"Server   {kfp.endpoint}, namespace kubeflow" in output
    assert "CANCELED" in output


def test_queues_show_their_usage(setup: Setup) -> None:
    use_kueue(setup.cluster)
    (queue,) = setup.record()["queues"]
    assert queue == {
        "name": "gpu",
        "cluster_queue": "pool",
        "pending": 1,
        "admitted": 2,
        "usage": ["nvidia.com/gpu 6 of 8"],
    }
    setup.cluster.forbidden.add(f"{KUEUE}/clusterqueues/pool")
    assert "pool: usage unknown" in setup.status().output


def test_usage_adds_up_flavors_and_units() -> None:
    flavors = [
        {"name": name, "resources": [{"name": "cpu", "nominalQuota": "8"}, {"name": "memory", "nominalQuota": "64Gi"}]}
        for name in ("a", "b")
    ]
    used = [{"name": "a", "resources": [{"name": "cpu", "total": "1500m"}, {"name": "memory", "total": "2048Mi"}]}]
    queue = {"spec": {"resourceGroups": [{"flavors": flavors}]}, "status": {"flavorsUsage": used}}
    assert usage_texts(queue) == ("cpu 1.5 of 16", "memory 2Gi of 128Gi")
    assert usage_texts({"spec": {}}) == ()


def test_what_waits_is_listed_with_its_reason(setup: Setup) -> None:
    use_kueue(setup.cluster)
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes fit"}
    pulling = {"waiting": {"reason": "ImagePullBackOff", "message": f"cannot pull http://ann:{SECRET}@host/image"}}
    container = {"name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": pulling}
    setup.cluster.lists[PODS] = [
        pending("train-a", OURS, conditions=[unschedulable]),
        pending("prepare-b", {"pipeline/runid": "run-2"}, containerStatuses=[container]),
        pending("just-created", OURS),
        pending("of-others", {}, conditions=[unschedulable]),
    ]
    why = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "insufficient quota"}
    owner = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "name": "vicur-train-1", "uid": "u"}
    admitted = {"type": "Admitted", "status": "True", "reason": "Admitted", "message": ""}
    setup.cluster.lists[f"{KUEUE}/namespaces/kubeflow/workloads"] = [
        {
            "metadata": {"name": "trainjob-1", "ownerReferences": [owner]},
            "spec": {"queueName": "gpu"},
            "status": {"conditions": [why]},
        },
        {"metadata": {"name": "done"}, "spec": {"queueName": "gpu"}, "status": {"conditions": [admitted]}},
    ]
    setup.cluster.lists[JOBS] = [
        {"metadata": {"name": "vicur-train-1", "labels": {}}, "spec": {"suspend": True}},
        {"metadata": {"name": "vicur-train-2", "labels": {"vicur.dev/run": "run-3"}}, "spec": {"suspend": True}},
        {"metadata": {"name": "vicur-train-3", "labels": {}}, "spec": {"suspend": False}},
    ]
    rows = [(row["kind"], row["name"], row["reason"], row["run_id"]) for row in setup.record()["blocked"]]
    assert rows == [
        ("Pod", "train-a", "Unschedulable: 0/3 nodes fit", "run-1"),
        ("Pod", "prepare-b", "ImagePullBackOff: cannot pull http://***@host/image", "run-2"),
        ("TrainJob", "vicur-train-1", "waits in the queue gpu: insufficient quota", ""),
        ("TrainJob", "vicur-train-2", "suspended", "run-3"),
    ]


def test_champions_and_outcomes_come_from_mlflow(setup: Setup, submit, kfp, tmp_path: Path) -> None:
    server, name = shared_server(), tmp_path.name.replace("_", "-")
    client = MlflowClient(server.uri, server.uri)
    experiment = client.create_experiment(name)
    tags = {"vicur.run_id": "run-1", "vicur.stage": "pipeline"}
    run = client.create_run(experiment, tags=tags)
    client.set_terminated(run.info.run_id, "FAILED")
    client.create_registered_model(name)
    for number in ("1", "2"):
        client.create_model_version(name, f"s3://bucket/{number}", tags={"vicur.gate": "passed"})
    client.set_registered_model_alias(name, "champion", "1")
    client.set_registered_model_alias(name, "candidate", "2")
    submit("--no-follow")
    kfp._advance(kfp.runs["run-1"], "SUCCEEDED")
    record = setup.record("--tracking-uri", server.uri)
    (model,) = [each for each in record["models"] if each["name"] == name]
    assert (model["champion"], model["candidate"], model["gate"]) == ("1", "2", "passed")
    assert record["runs"][0]["mlflow"] == "FAILED"
    output = setup.status("--tracking-uri", server.uri).output
    assert "FAILED in MLflow" in output, "MLflow contradicts Kubeflow Pipelines"
    assert "champion: version 1 of 20" in output
    client.set_terminated(run.info.run_id, "FINISHED")
    assert "in MLflow" not in setup.status("--tracking-uri", server.uri).output


def test_every_source_is_optional_and_says_why_it_is_missing(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "no-such-file")
    setup.kfp.endpoint = f"http://ann:{SECRET}@127.0.0.1:{free_port()}"
    result = setup.status("--tracking-uri", f"http://127.0.0.1:{free_port()}")
    assert result.code == 0
    lines = result.output.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("Server   http://***@127.0.0.1")
    for line, (title, words) in zip(
        lines[1:],
        [
            ("Runs", "Kubeflow Pipelines does not answer"),
            ("Queues", "no cluster is configured"),
            ("Waiting", "no cluster is configured"),
            ("Models", "http://127.0.0.1"),
        ],
        strict=True,
    ):
        assert line.startswith(f"{title:<9}not available: ")
        assert words in line
    assert SECRET not in result.output + result.error


def test_what_is_not_installed_or_not_configured_is_a_line(setup: Setup) -> None:
    output = setup.status().output
    assert "Queues   not available: the cluster has no Kueue." in output
    assert "Waiting  nothing waits" in output
    assert "Models   not available: no MLflow server is configured. Set MLFLOW_TRACKING_URI" in output
    assert "Runs     none" in output
    assert (
        "Models   not available: sqlite:///mlflow/mlflow.db is a file"
        in setup.status("--tracking-uri", "sqlite:///mlflow/mlflow.db").output
    )
    assert not Path("mlflow").exists(), "no embedded store is created"


def test_a_namespace_that_may_not_be_read_is_a_line(setup: Setup) -> None:
    setup.cluster.forbidden.add(PODS)
    unavailable = setup.record()["unavailable"]
    assert unavailable["blocked"].startswith("the pods of the namespace kubeflow cannot be listed (HTTP 403).")


def test_without_kubeflow_pipelines_the_namespace_can_be_given(setup: Setup) -> None:
    setup.cluster.lists["/api/v1/namespaces/vicur/pods"] = []
    result = setup.run("status", "--namespace", "vicur", "--json")
    record = json.loads(result.output)
    assert (record["namespace"], record["blocked"]) == ("vicur", [])
    assert "no Kubeflow Pipelines server is configured" in record["unavailable"]["runs"]
