"""Render the kustomizations in ``k8s/`` as ``kubectl apply -k`` does."""

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
"""Kustomizations that users apply, relative to ``k8s/``. The others are parts of these."""

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
    """Return the manifests of a kustomization. Tests may change them."""
    return [m for m in yaml.load_all(_text(K8S / name), Loader=yaml.CSafeLoader) if m]


def title(manifest: Manifest) -> str:
    """Return the name of a manifest in messages."""
    return f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"


def pod_templates(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return pod templates (metadata and spec) by the title of the object that creates the pods."""
    found = {title(m): m["spec"]["template"] for m in manifests if m["kind"] in ("Deployment", "StatefulSet", "Job")}
    for runtime in (m for m in manifests if m["kind"] == "TrainingRuntime"):
        for job in runtime["spec"]["template"]["spec"]["replicatedJobs"]:
            found[f"{title(runtime)}.{job['name']}"] = job["template"]["spec"]["template"]
    runtimes = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "ServingRuntime"}
    for service in (m for m in manifests if m["kind"] == "InferenceService"):
        # KServe merges the containers and labels of the runtime with the predictor's pod settings.
        predictor = service["spec"]["predictor"]
        runtime = runtimes[predictor["model"]["runtime"]]
        found[title(service)] = {"metadata": {"labels": runtime["labels"]}, "spec": {**runtime, **predictor}}
    return found
