"""Every rendered manifest is valid by the schemas of Kubernetes and of the custom resources."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.crds import crd_files
from tests.k8s.__main__ import main
from tests.k8s.render import APPLIED, rendered
from tests.k8s.schemas import VERSIONS, is_unchecked, problems


@pytest.fixture(scope="session")
def crds() -> list[Path]:
    return crd_files()


def test_documented_overlays_exist() -> None:
    overlays = ("dev", "gpu-pool", "kserve", "multi-user", "serving")
    assert (
        "jobs/stage-models",
        "namespaces/gpu-pool",
        *(f"overlays/{name}" for name in overlays),
        *(f"storage/{name}" for name in ("dev", "gpu-pool", "multi-user")),
    ) == APPLIED


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", APPLIED)
def test_every_manifest_is_valid(name: str, version: str, crds: list[Path]) -> None:
    manifests = rendered(name)
    assert manifests
    assert [problem for manifest in manifests for problem in problems(manifest, version, crds)] == []


def one(name: str, kind: str, called: str) -> dict[str, Any]:
    found = [m for m in rendered(name) if m["kind"] == kind and m["metadata"]["name"] == called]
    assert len(found) == 1
    return copy.deepcopy(found[0])


def test_unknown_kind_is_a_problem(crds: list[Path]) -> None:
    unknown = {"apiVersion": "example.com/v1", "kind": "Surprise", "metadata": {"name": "x"}}
    assert problems(unknown, "1.35", crds) == ["Surprise/x: there is no schema of Surprise in example.com/v1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["spec"].update(replica=2), "'replica' was unexpected"),
        (lambda m: m["spec"].update(replicas="two"), "is not of type"),
        (lambda m: m["spec"].pop("selector"), "'selector' is a required property"),
        (lambda m: m.update(apiVersion="apps.example.com/v1"), "is not one of"),
        (lambda m: m.update(kind="deployment"), "is not one of"),
        (lambda m: m.update(apiVersion="apps/v1beta1"), "there is no schema"),
    ],
)
def test_invalid_manifest_is_reported(change: Any, message: str, crds: list[Path]) -> None:
    deployment = one("overlays/gpu-pool", "Deployment", "mlflow")
    change(deployment)
    for version in VERSIONS:
        assert message in " ".join(problems(deployment, version, crds))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["spec"].update(nominalQuota=1), "'nominalQuota' was unexpected"),
        (lambda m: m["spec"]["preemption"].update(withinClusterQueue="Always"), "'Always' is not one of"),
        (lambda m: m["spec"]["resourceGroups"][0]["flavors"][0].pop("name"), "'name' is a required property"),
        (lambda m: m.update(apiVersion="kueue.x-k8s.io/v1"), "there is no schema"),
        (lambda m: m.pop("metadata"), "'metadata' is a required property"),
    ],
)
def test_invalid_custom_resource_is_reported(change: Any, message: str, crds: list[Path]) -> None:
    queue = one("overlays/gpu-pool", "ClusterQueue", "vicur-gpu")
    change(queue)
    assert message in " ".join(problems(queue, "1.35", crds))


def test_custom_resource_is_checked_against_its_version(crds: list[Path]) -> None:
    queue = one("overlays/gpu-pool", "ClusterQueue", "vicur-gpu")
    queue["spec"]["cohort"] = "research"
    assert problems(queue, "1.35", crds)
    queue["apiVersion"] = "kueue.x-k8s.io/v1beta1"
    assert problems(queue, "1.35", crds) == []


def test_namespaced_runtime_is_checked_against_the_cluster_wide_definition(crds: list[Path]) -> None:
    runtime = one("overlays/multi-user", "TrainingRuntime", "vicur-torch")
    runtime["spec"]["mlPolicy"]["pytorch"] = {}
    assert "'pytorch' was unexpected" in " ".join(problems(runtime, "1.35", crds))


def test_command_prints_a_line_for_each_kustomization_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    printed = capsys.readouterr().out
    assert printed.count("passed") == len(APPLIED)
    assert printed.count("valid") == len(APPLIED) * len(VERSIONS)
    assert printed.count("Not checked") == len(unchecked(crd_files()))


def unchecked(crds: list[Path]) -> list[str]:
    return [f"{name}: {m['kind']}" for name in APPLIED for m in rendered(name) if is_unchecked(m, crds)]


def test_only_kserves_resources_are_unchecked_without_their_definitions(crds: list[Path]) -> None:
    kserve = ["overlays/kserve: InferenceService", "overlays/kserve: ServingRuntime"]
    assert sorted(unchecked([file for file in crds if "kserve" not in file.read_text()])) == kserve


def test_kserves_resources_are_checked_with_their_definitions(tmp_path: Path) -> None:
    definition = {
        "kind": "CustomResourceDefinition",
        "spec": {
            "group": "serving.kserve.io",
            "names": {"kind": "ServingRuntime"},
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "schema": {
                        "openAPIV3Schema": {"properties": {"kind": {}, "apiVersion": {}, "spec": {"type": "string"}}}
                    },
                }
            ],
        },
    }
    file = tmp_path / "kserve.yaml"
    file.write_text(json.dumps(definition))
    (problem,) = problems(one("overlays/kserve", "ServingRuntime", "student"), "1.35", [file])
    assert "is not of type 'string'" in problem


def test_queues_are_also_valid_for_an_older_kueue(crds: list[Path]) -> None:
    older = [m for m in rendered("overlays/gpu-pool") if m["apiVersion"] == "kueue.x-k8s.io/v1beta2"]
    assert len(older) == 6
    assert [p for m in older for p in problems({**m, "apiVersion": "kueue.x-k8s.io/v1beta1"}, "1.35", crds)] == []
