"""Render the kustomizations in ``k8s/`` as ``kubectl apply -k`` does."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.absent import absent

K8S = Path(__file__).parents[2] / "k8s"
APPLIED = tuple(
    sorted(
        file.parent.relative_to(K8S).as_posix()
        for folder in ("namespaces", "storage", "overlays", "jobs")
        for file in K8S.glob(f"{folder}/*/kustomization.yaml")
    )
)
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


def installed(name: str) -> list[Manifest]:
    """Return the manifests of a kustomization with those of its namespace and claims, which are applied before an overlay."""
    folder, _, overlay = name.partition("/")
    before = [f"{each}/{overlay}" for each in ("namespaces", "storage")] if folder == "overlays" else []
    return [m for each in (*before, name) if each == name or each in APPLIED for m in rendered(each)]


def with_component(name: str, component: str, folder: Path) -> list[Manifest]:
    """Return the manifests of a kustomization in ``folder`` that adds an optional component to an overlay, as a user's does."""
    text = {each: os.path.relpath(K8S / each, folder.resolve()) for each in (name, f"components/{component}")}
    resource, component = text.values()
    kustomization = {"resources": [resource], "components": [component]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return [m for m in yaml.load_all(_text(folder), Loader=yaml.CSafeLoader) if m]


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
