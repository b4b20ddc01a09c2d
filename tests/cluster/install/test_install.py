"""``vicur install`` with the real kubectl and the real overlays, on a cluster double."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.calling import Command
from tests.cluster.install.kubernetes_double import KubernetesDouble, Workload
from tests.k8s.render import K8S, installed, rendered

MANIFESTS = f"--manifests={K8S}"
SERVER = "vicur-mlflow-server"


def titles(overlay: str) -> set[str]:
    return {f"{m['kind']}/{m['metadata']['name']}" for m in installed(f"overlays/{overlay}")}


def test_overlay_is_applied_and_a_second_installation_changes_nothing(
    cluster: KubernetesDouble, vicur: Command
) -> None:
    calls: list[dict[str, str]] = []

    def create_user(_: list[str], stdin: str) -> str:
        calls.append(json.loads(stdin))
        return "created"

    cluster.execute = create_user
    done = vicur("install", "dev", MANIFESTS)
    assert done.code == 0, done.error
    assert titles("dev") <= cluster.titles("kubeflow") | cluster.titles()
    assert {"Secret/vicur-s3", "Secret/vicur-mlflow", f"Secret/{SERVER}"} <= cluster.titles("kubeflow")
    assert "Job/mlflow-migrate-3-17-2: 1/1" in done.output
    assert "MLflow's user vicur: created" in done.output
    assert re.search(r"ok +pipelines", done.output)
    user = cluster.secret("vicur-mlflow", "kubeflow")
    assert calls == [{"username": "vicur", "password": user["MLFLOW_TRACKING_PASSWORD"]}]
    cluster.changes()
    cluster.execute = lambda *_: "exists"
    again = vicur("install", "dev", MANIFESTS)
    assert again.code == 0
    assert not cluster.changes()
    assert f"{len(rendered('overlays/dev'))} objects of overlays are unchanged" in again.output


def test_dry_run_lists_objects_and_changes_nothing(cluster: KubernetesDouble, vicur: Command, s3_file: str) -> None:
    done = vicur("install", "gpu-pool", MANIFESTS, s3_file, "--dry-run")
    assert done.code == 0, done.error
    assert not cluster.changes()
    listed = {
        line.split(" ")[1].partition("/")[2].rstrip(":") for line in done.output.splitlines() if line.startswith("+ ")
    }
    secrets = {"vicur-s3", "vicur-mlflow", SERVER, "vicur-cue"}
    assert listed == {each.partition("/")[2] for each in titles("gpu-pool")} | secrets
    assert f"+ secret/{SERVER}: generated" in done.output
    assert "equals=in=it" not in done.output


def test_secrets_are_random_and_never_printed(cluster: KubernetesDouble, vicur: Command, small: Path) -> None:
    done = vicur("install", "dev", f"--manifests={small}", "--secret", "vicur-cue=/dev/null")
    assert "lacks a value for VICUR_CUE_API_KEY" in done.error
    done = vicur("install", "dev", f"--manifests={small}")
    values = list(cluster.secret("vicur-mlflow", "kubeflow").values()) + list(
        cluster.secret("vicur-s3", "kubeflow").values()
    )
    assert values[-2:] == ["of-kfp", "of-kfp-too"]
    assert len(set(values)) == 4
    assert [len(each) for each in values[:2] if each != "vicur"] == [48]
    assert not [each for each in values if each != "vicur" and each in done.output + done.error]


def test_existing_secret_is_kept(cluster: KubernetesDouble, vicur: Command, small: Path) -> None:
    own = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "mine"}
    meta = {"name": "vicur-mlflow", "namespace": "kubeflow"}
    cluster.add({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": own})
    assert vicur("install", "dev", f"--manifests={small}").code == 0
    assert cluster.secret("vicur-mlflow", "kubeflow") == own
    del cluster.objects["Secret", "kubeflow", "vicur-mlflow"]["data"]["MLFLOW_TRACKING_USERNAME"]
    done = vicur("install", "dev", f"--manifests={small}")
    assert done.code == 2
    assert "the secret vicur-mlflow in the namespace kubeflow lacks the key MLFLOW_TRACKING_USERNAME" in done.error


def test_gpu_pool_then_profile(cluster: KubernetesDouble, vicur: Command, s3_file: str) -> None:
    # Weights are staged later, so the cue model cannot be ready.
    cluster.workloads["Deployment/cue-model"] = Workload(polls=1000)
    done = vicur("install", "gpu-pool", MANIFESTS, s3_file)
    assert done.code == 0, done.error
    assert "Deployment/cue-model: 0/1 needs staged weights; not awaited" in done.output
    assert titles("gpu-pool") <= cluster.titles("vicur") | cluster.titles()
    assert cluster.secret("vicur-s3", "vicur").get("AWS_SECRET_ACCESS_KEY") == "equals=in=it"
    missing = vicur("install", "multi-user", MANIFESTS, s3_file, "--namespace", "team-b")
    assert missing.code == 2
    assert "the namespace team-b does not exist" in missing.error
    cluster.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-b"}})
    done = vicur("install", "multi-user", MANIFESTS, s3_file, "--namespace", "team-b")
    assert done.code == 0, done.error
    assert titles("multi-user") <= cluster.titles("team-b")
    assert cluster.secret("vicur-cue", "team-b") == cluster.secret("vicur-cue", "vicur")
    assert cluster.secret("vicur-mlflow", "team-b")["MLFLOW_TRACKING_USERNAME"] == "team-b"
    assert "ClusterQueue vicur-gpu does not admit pods of the namespace team-b" in done.output
    # The namespace in the kustomizations is replaced everywhere, also in the subjects of bindings.
    assert "team-a" not in json.dumps(list(cluster.objects.values()))


def test_profile_needs_the_services(cluster: KubernetesDouble, vicur: Command, s3_file: str) -> None:
    cluster.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}})
    done = vicur("install", "multi-user", MANIFESTS, s3_file)
    assert done.code == 2
    assert "MLflow does not run in the namespace vicur" in done.error
    assert not cluster.changes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dev", "--namespace", "ml"], "the overlay dev is made for the namespace kubeflow"),
        (["gpu-pool"], "the secret vicur-s3 does not exist in the namespace vicur"),
        (["dev", "--secret", "vicur-s4=x"], "Did you mean 'vicur-s3'?"),
        (["dev", "--secret", "vicur-s3=nowhere.env"], "the file cannot be read: No such file"),
        (["dev", "--delete-data"], "deletes nothing without --uninstall"),
        (["dev", "--context", "other"], "--context"),
        (["dev", "--manifests", "nowhere"], "contains no kustomization.yaml"),
    ],
)
def test_wrong_input_is_reported_before_anything_changes(
    cluster: KubernetesDouble, vicur: Command, arguments: list[str], message: str
) -> None:
    done = vicur("install", *([] if "--manifests" in arguments else [MANIFESTS]), *arguments)
    assert done.code in (1, 2)
    assert message in done.error
    assert not cluster.changes()


def test_missing_kueue_is_reported_by_name(cluster: KubernetesDouble, vicur: Command, s3_file: str) -> None:
    cluster.kinds["kueue.x-k8s.io/v1beta1"] = cluster.kinds.pop("kueue.x-k8s.io/v1beta2")
    done = vicur("install", "gpu-pool", MANIFESTS, s3_file)
    assert done.code == 2
    assert "does not serve kueue.x-k8s.io/v1beta2" in done.error
    assert "but kueue.x-k8s.io/v1beta1." in done.error
    assert "Install Kueue" in done.error


def test_new_password_is_not_generated_for_an_existing_database(cluster: KubernetesDouble, vicur: Command) -> None:
    meta = {"name": "data-mlflow-db-0", "namespace": "kubeflow"}
    cluster.add({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta})
    done = vicur("install", "dev", MANIFESTS)
    assert done.code == 2
    assert "the claim data-mlflow-db-0 holds MLflow's database" in done.error
    assert not cluster.changes()


def test_kubectl_is_required(monkeypatch: pytest.MonkeyPatch, vicur: Command, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = vicur("install", "dev", MANIFESTS)
    assert done.code == 2
    assert "kubectl is not installed" in done.error
    assert "1.29 or later" in done.error


def test_old_kubectl_is_refused(monkeypatch: pytest.MonkeyPatch, vicur: Command, cluster: KubernetesDouble) -> None:
    from vicur.cluster.install import kubectl

    monkeypatch.setattr(kubectl, "MINIMUM", (1, 99))
    done = vicur("install", "dev", MANIFESTS)
    assert done.code == 2
    assert "too old" in done.error
    assert not cluster.changes()


def test_cluster_that_does_not_answer_is_reported(
    vicur: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    double = KubernetesDouble()
    (tmp_path / "kubeconfig").write_text(double.kubeconfig())
    double._http.server_close()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    done = vicur("install", "dev", MANIFESTS)
    assert done.code == 1
    assert "kubectl cluster-info" in done.error
