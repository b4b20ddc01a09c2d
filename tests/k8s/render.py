"""Renders the kustomizations of ``k8s/`` as ``kubectl apply -k`` would."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.absent import absent

K8S = Path(__file__).parents[2] / "k8s"
APPLIED = tuple(
    sorted(f.parent.relative_to(K8S).as_posix() for f in [*K8S.glob("overlays/*/*"), *K8S.glob("jobs/*/*")]
           if f.name == "kustomization.yaml")
)  # fmt: skip
"""What a person applies, relative to ``k8s/``; the rest are parts of these."""

Manifest = dict[str, Any]


@functools.cache
def _text(folder: Path) -> str:
    if kubectl := shutil.which("kubectl"):
        command = [kubectl, "kustomize", str(folder)]
    elif kustomize := shutil.which("kustomize"):
        command = [kustomize, "build", str(folder)]
    else:
        absent("neither kubectl nor kustomize is installed (Debian: apt-get install kubernetes-client)")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(name: str) -> list[Manifest]:
    """The manifests of a kustomization, each a copy that a test may spoil."""
    return [m for m in yaml.load_all(_text(K8S / name), Loader=yaml.CSafeLoader) if m]


def title(manifest: Manifest) -> str:
    """How problems name a manifest."""
    return f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"


def pod_templates(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Pod templates (metadata and spec) by the title of what makes pods of them."""
    found = {title(m): m["spec"]["template"] for m in manifests if m["kind"] in ("Deployment", "StatefulSet", "Job")}
    for runtime in (m for m in manifests if m["kind"] == "TrainingRuntime"):
        for job in runtime["spec"]["template"]["spec"]["replicatedJobs"]:
            found[f"{title(runtime)}.{job['name']}"] = job["template"]["spec"]["template"]
    runtimes = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "ServingRuntime"}
    for service in (m for m in manifests if m["kind"] == "InferenceService"):
        # As KServe puts a pod together: the runtime's containers and labels, and all that the service's predictor says of the pod.
        predictor = service["spec"]["predictor"]
        runtime = runtimes[predictor["model"]["runtime"]]
        found[title(service)] = {"metadata": {"labels": runtime["labels"]}, "spec": {**runtime, **predictor}}
    return found
