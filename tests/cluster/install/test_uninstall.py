"""``vicur install --uninstall``: what is deleted and what is kept."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.cli.calling import Command
from tests.cluster.install.kubernetes_double import KubernetesDouble

DATA = {"PersistentVolumeClaim/vicur-models", "PersistentVolumeClaim/data-mlflow-db-0"}
SECRETS = {"Secret/vicur-s3", "Secret/vicur-mlflow", "Secret/vicur-mlflow-server"}


def test_data_is_kept_and_a_new_installation_finds_it(cluster: KubernetesDouble, vicur: Command, small: Path) -> None:
    here = f"--manifests={small}"
    before = cluster.titles("kubeflow") | cluster.titles()
    assert vicur("install", "dev", here).code == 0
    password = cluster.secret("vicur-mlflow-server", "kubeflow")
    shown = vicur("install", "dev", here, "--uninstall", "--dry-run")
    assert "- StatefulSet/mlflow-db" in shown.output
    assert "= persistentvolumeclaim/data-mlflow-db-0: kept" in shown.output
    assert "StatefulSet/mlflow-db" in cluster.titles("kubeflow")
    done = vicur("install", "dev", here, "--uninstall")
    assert done.code == 0, done.error
    assert cluster.titles("kubeflow") | cluster.titles() == before | DATA | SECRETS
    assert vicur("install", "dev", here).code == 0
    assert cluster.secret("vicur-mlflow-server", "kubeflow") == password


def test_data_is_deleted_on_request_after_confirmation(
    cluster: KubernetesDouble, vicur: Command, monkeypatch: pytest.MonkeyPatch, small: Path, s3_file: str
) -> None:
    before, here = set(cluster.objects), f"--manifests={small}"
    assert vicur("install", "gpu-pool", here, s3_file).code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    declined = vicur("install", "gpu-pool", here, "--uninstall", "--delete-data")
    assert declined.code == 1
    assert "StatefulSet/mlflow-db" in cluster.titles("vicur")
    done = vicur("install", "gpu-pool", here, "--uninstall", "--delete-data", "--yes")
    assert done.code == 0, done.error
    assert "- namespace/vicur" in done.output
    assert set(cluster.objects) == before


def test_nothing_is_deleted_while_runs_are_in_progress(cluster: KubernetesDouble, vicur: Command, small: Path) -> None:
    labels = {"app.kubernetes.io/part-of": "vicur", "vicur.dev/task": "train"}
    meta = {"name": "run-train", "namespace": "kubeflow", "labels": labels}
    cluster.add({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}, "status": {"phase": "Running"}})
    done = vicur("install", "dev", f"--manifests={small}", "--uninstall", "--delete-data", "--yes")
    assert done.code == 2
    assert "1 pods of runs are in progress (train)" in done.error
    assert not cluster.changes()


def test_overlay_can_be_removed_after_the_operators_of_its_custom_resources(
    cluster: KubernetesDouble, vicur: Command, small: Path, s3_file: str
) -> None:
    assert vicur("install", "gpu-pool", f"--manifests={small}", s3_file).code == 0
    cluster.kinds.pop("kueue.x-k8s.io/v1beta2")
    del cluster.objects["LocalQueue", "vicur", "vicur"]
    done = vicur("install", "gpu-pool", f"--manifests={small}", "--uninstall")
    assert done.code == 0, done.error
    assert "Deployment/mlflow" not in cluster.titles("vicur")


def test_nothing_installed_is_said(cluster: KubernetesDouble, vicur: Command, small: Path) -> None:
    done = vicur("install", "gpu-pool", f"--manifests={small}", "--uninstall")
    assert done.code == 0
    assert "Nothing is installed in the namespace vicur." in done.output
    assert not cluster.changes()
