"""A cluster double in the kubeconfig, and ``vicur`` in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.absent import absent
from tests.cli.calling import Command, caller
from tests.cluster.install.kubernetes_double import KubernetesDouble
from vicur.cluster.install import waiting


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesDouble]:
    """Return a cluster with standalone Kubeflow Pipelines, Kueue and Trainer, named by the kubeconfig."""
    if shutil.which("kubectl") is None:
        absent("kubectl is not installed (Debian: apt-get install kubernetes-client)")
    double = KubernetesDouble()
    double.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeflow"}})
    bucket = {"name": "mlpipeline-minio-artifact", "namespace": "kubeflow"}
    keys = {"accesskey": "of-kfp", "secretkey": "of-kfp-too"}
    double.add({"apiVersion": "v1", "kind": "Secret", "metadata": bucket, "stringData": keys})
    with double.serving():
        (tmp_path / "kubeconfig").write_text(double.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        # Discovery is cached by address, and the next double may have the same.
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "cache"))
        monkeypatch.setattr(waiting, "_INTERVAL", 0.05)
        yield double


@pytest.fixture
def vicur(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("COLUMNS", "300")
    return caller(monkeypatch, capfd)


@pytest.fixture
def s3_file(tmp_path: Path) -> str:
    """Return ``--secret`` for S3 credentials."""
    file = tmp_path / "s3.env"
    file.write_text("# of the team\nAWS_ACCESS_KEY_ID=team\nAWS_SECRET_ACCESS_KEY=equals=in=it\n")
    return f"--secret=vicur-s3={file}"


SMALL = {
    "overlays/gpu-pool/kustomization.yaml": """
namespace: vicur
resources: [../dev, queue.yaml]
""",
    "overlays/gpu-pool/queue.yaml": """
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: vicur}
spec: {clusterQueue: vicur-gpu}
""",
    "overlays/dev/kustomization.yaml": """
namespace: kubeflow
resources: [all.yaml]
""",
    "overlays/dev/all.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: vicur-endpoints}
data: {MLFLOW_TRACKING_URI: "http://mlflow:5000"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: mlflow}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: mlflow}}
  template:
    metadata: {labels: {app.kubernetes.io/name: mlflow, app.kubernetes.io/part-of: vicur}}
    spec: {containers: [{name: mlflow, image: "mlflow:1"}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: mlflow-db}
spec:
  replicas: 1
  serviceName: mlflow-db
  selector: {matchLabels: {app.kubernetes.io/name: mlflow-db}}
  template:
    metadata: {labels: {app.kubernetes.io/name: mlflow-db, app.kubernetes.io/part-of: vicur}}
    spec:
      containers:
        - name: postgresql
          image: "postgres:17"
          envFrom: [{secretRef: {name: vicur-mlflow-server}}]
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce]}}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec:
  template:
    metadata: {labels: {app.kubernetes.io/name: migrate, app.kubernetes.io/part-of: vicur}}
    spec: {restartPolicy: Never, containers: [{name: migrate, image: "mlflow:1"}]}
""",
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a folder for ``--manifests`` with small overlays. Their claims and namespace are those of ``k8s/``."""
    for name, text in SMALL.items():
        (tmp_path / "small" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "small" / name).write_text(text)
    return tmp_path / "small"
