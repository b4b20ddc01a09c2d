"""The patch of KFP's workflow controller removes the retry policy, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.absent import absent
from vicur.cluster.preflight.checks.workflow_controller import retry_policy

PATCH = Path(__file__).parents[2] / "k8s" / "kfp" / "workflow-defaults.yaml"
# As in the manifests of Kubeflow Pipelines 2.17.0.
SHIPPED = """\
spec:
  ttlStrategy:
    secondsAfterCompletion: 3600
    secondsAfterSuccess: 3600
    secondsAfterFailure: 3600
  templateDefaults:
    retryStrategy:
      limit: '2'
      retryPolicy: OnError
"""


def patched(folder: Path) -> dict[str, Any]:
    """Return the ConfigMap's data after kubectl has patched it."""
    if (kubectl := shutil.which("kubectl")) is None:
        absent("kubectl is not installed (Debian: apt-get install kubernetes-client)")
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "workflow-controller-configmap"},
        "data": {"executor": "imagePullPolicy: IfNotPresent\n", "workflowDefaults": SHIPPED},
    }
    (folder / "map.yaml").write_text(yaml.safe_dump(config_map))
    command = [kubectl, "patch", "--local", "-f", str(folder / "map.yaml"), "--patch-file", str(PATCH), "-o", "yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(yaml.safe_load(done.stdout)["data"])


def test_the_patch_removes_the_retry_policy_and_nothing_else(tmp_path: Path) -> None:
    data = patched(tmp_path)
    shipped = yaml.safe_load(SHIPPED)
    del shipped["spec"]["templateDefaults"]
    assert yaml.safe_load(data["workflowDefaults"]) == shipped
    assert data["executor"] == "imagePullPolicy: IfNotPresent\n"
    assert retry_policy({"workflowDefaults": SHIPPED}) == "OnError"
    assert retry_policy(data) == ""
