"""Settings of the steps' pods in compiled packages, checked against the restricted profile and the overlays.

A package sets little: KFP's backend adds the rest (since 2.16: seccomp profile, no privilege escalation, no capabilities), as well as the
containers of its driver, its launcher and Argo. Those exist only in a cluster; docs/kubernetes.md lists them as unchecked.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.pod_policy import SECRETS, image_problems, is_credential
from tests.k8s.render import installed, rendered
from vicur.stage.table import BENCHMARK_STAGES

PACKAGES = sorted((Path(__file__).parents[2] / "pipelines" / "compiled").glob("*.yaml"))
KNOWN = {
    "activeDeadlineSeconds",
    "configMapAsEnv",
    "configMapAsVolume",
    "emptyDirMounts",
    "fieldPathAsEnv",
    "nodeAffinity",
    "nodeSelector",
    "podMetadata",
    "pvcMount",
    "secretAsEnv",
    "secretAsVolume",
    "securityContext",
    "tolerations",
}
"""Fields of a step's platform configuration that a restricted namespace allows."""


@functools.cache
def executors(package: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return the container and the platform configuration of each step of a package."""
    pipeline, platform = yaml.load_all(package.read_text(), Loader=yaml.CSafeLoader)
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    containers = pipeline["deploymentSpec"]["executors"]
    return {name: (each["container"], settings.get(name, {})) for name, each in containers.items()}


STEPS = [(package, name) for package in PACKAGES for name in executors(package)]
every_step = pytest.mark.parametrize(("package", "name"), STEPS, ids=[f"{p.stem}-{n}" for p, n in STEPS])


@every_step
def test_step_does_not_run_as_root(package: Path, name: str) -> None:
    security = executors(package)[name][1]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security.get("runAsUser", 1) != 0


@every_step
def test_step_sets_only_fields_that_a_restricted_namespace_allows(package: Path, name: str) -> None:
    assert set(executors(package)[name][1]) <= KNOWN


@every_step
def test_step_contains_no_secret_and_refers_to_documented_ones(package: Path, name: str) -> None:
    container, settings = executors(package)[name]
    assert [e["name"] for e in container.get("env", []) if is_credential(e["name"])] == []
    named = [each.get("secretName") or each["secretNameParameter"] for each in settings.get("secretAsVolume", [])]
    assert {n["runtimeValue"]["constant"] if isinstance(n, dict) else n for n in named} <= SECRETS


@every_step
def test_image_of_a_step_is_pinned(package: Path, name: str) -> None:
    image = executors(package)[name][0]["image"]
    # An image that is chosen per run is a parameter.
    assert "{{$.inputs" in image or list(image_problems(image)) == []


@every_step
def test_claims_that_a_step_mounts_exist(package: Path, name: str) -> None:
    claims = {m["metadata"]["name"] for m in installed("overlays/multi-user") if m["kind"] == "PersistentVolumeClaim"}
    mounted = {each.get("constant") for each in executors(package)[name][1].get("pvcMount", [])}
    assert mounted <= {*claims, None}


def test_network_policies_list_exactly_the_steps() -> None:
    tasks = {executors(package)[name][1]["podMetadata"]["labels"]["vicur.dev/task"] for package, name in STEPS}
    (policy,) = [m for m in rendered("overlays/dev") if m["metadata"]["name"] == "vicur-steps-to-mlflow"]
    (expression,) = policy["spec"]["podSelector"]["matchExpressions"]
    # Not every package has the step with the checks, and only those that were compiled with benchmarks have their steps.
    benchmarks = {f"{stage}{model}" for stage in BENCHMARK_STAGES for model in ("", "-base")}
    assert {*tasks, *benchmarks, "compare-with-benchmarks", "preflight"} == set(expression["values"])


@every_step
def test_step_is_selected_by_the_policies(package: Path, name: str) -> None:
    labels = executors(package)[name][1]["podMetadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "vicur"
