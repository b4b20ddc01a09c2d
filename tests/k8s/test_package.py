"""What the compiled packages set on the pods of steps, held against the restricted profile and the overlays.

A package sets little: KFP's backend adds the rest (seccomp profile, no escalation, no capabilities, from 2.16 on), and its driver, launcher
and Argo's containers are its own. Those are seen in a cluster alone: docs/kubernetes.md lists them as unchecked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.pod_policy import SECRETS, image_problems, is_credential
from tests.k8s.render import rendered

PACKAGES = sorted((Path(__file__).parents[2] / "pipelines" / "compiled").glob("*.yaml"))
KNOWN = {
    "activeDeadlineSeconds",
    "configMapAsEnv",
    "emptyDirMounts",
    "fieldPathAsEnv",
    "nodeAffinity",
    "nodeSelector",
    "podMetadata",
    "pvcMount",
    "secretAsEnv",
    "securityContext",
    "tolerations",
}
"""Fields of a step's platform configuration that a restricted namespace bears."""


def executors(package: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Container and platform configuration of each step of a package."""
    pipeline, platform = yaml.load_all(package.read_text(), Loader=yaml.CSafeLoader)
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    containers = pipeline["deploymentSpec"]["executors"]
    return {name: (each["container"], settings.get(name, {})) for name, each in containers.items()}


STEPS = [(package, name) for package in PACKAGES for name in executors(package)]
every_step = pytest.mark.parametrize(("package", "name"), STEPS, ids=[f"{p.stem}-{n}" for p, n in STEPS])


@every_step
def test_a_step_runs_as_another_user_than_root(package: Path, name: str) -> None:
    security = executors(package)[name][1]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security.get("runAsUser", 1) != 0


@every_step
def test_a_step_sets_nothing_that_a_restricted_namespace_refuses(package: Path, name: str) -> None:
    assert set(executors(package)[name][1]) <= KNOWN


@every_step
def test_a_step_holds_no_secret_and_names_those_that_are_documented(package: Path, name: str) -> None:
    container, settings = executors(package)[name]
    assert [e["name"] for e in container.get("env", []) if is_credential(e["name"])] == []
    named = [each.get("secretName") or each["secretNameParameter"] for each in settings.get("secretAsEnv", [])]
    assert {n["runtimeValue"]["constant"] if isinstance(n, dict) else n for n in named} <= SECRETS


@every_step
def test_the_image_of_a_step_is_pinned(package: Path, name: str) -> None:
    image = executors(package)[name][0]["image"]
    # One that a run chooses is a parameter of it.
    assert "{{$.inputs" in image or list(image_problems(image)) == []


@every_step
def test_the_claims_that_a_step_mounts_are_there(package: Path, name: str) -> None:
    claims = {m["metadata"]["name"] for m in rendered("overlays/multi-user") if m["kind"] == "PersistentVolumeClaim"}
    mounted = {each.get("constant") for each in executors(package)[name][1].get("pvcMount", [])}
    assert mounted <= {*claims, None}


def test_every_step_is_known_to_the_network_policies_and_they_know_no_other() -> None:
    tasks = {executors(package)[name][1]["podMetadata"]["labels"]["vicur.dev/task"] for package, name in STEPS}
    (policy,) = [m for m in rendered("overlays/dev") if m["metadata"]["name"] == "vicur-steps-to-mlflow"]
    (expression,) = policy["spec"]["podSelector"]["matchExpressions"]
    # The checks before a run are a step of their own, which a package may have.
    assert {*tasks, "preflight"} == set(expression["values"])


@every_step
def test_a_step_is_held_by_the_policies(package: Path, name: str) -> None:
    labels = executors(package)[name][1]["podMetadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "vicur"
