"""``vicur submit`` refuses what the run's first step would refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from kfp import compiler
from vicur_pipelines.cluster import cluster_pipeline
from vicur_pipelines.local import code_versions
from vicur_pipelines.submit.check import require_valid
from vicur_pipelines.submit.packaged import Package
from vicur_pipelines.submit.parameters import run_parameters

from vicur.config.run import RunConfig
from vicur.errors import VicurError


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    file = tmp_path_factory.mktemp("package") / "cluster.yaml"
    compiler.Compiler().compile(cluster_pipeline(code_versions(), RunConfig(methods=("vicur",))), str(file))
    return Package.read(file)


def check(package: Package, *assignments: str) -> None:
    require_valid(package, run_parameters(assignments, package.parameters), assignments)


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["training.stepz=1"], ("--param training.stepz=1", "training.steps")),
        (["student=hf://Qwen/Qwen3-VL-2B-Instruct"], ("vicur models pin hf://Qwen/Qwen3-VL-2B-Instruct",)),
        (["student=pvc://other/model", "seed=1"], ("pvc://other/model", "cluster.data_claims=[other]")),
        (["dataset=hf://org/data"], ("names no commit", "vicur data inspect hf://org/data")),
        (["cluster.namespace=x"], ("is fixed in the package",)),
        (["methods=[opd]"], ("the teacher is another checkpoint",)),
    ],
)
def test_a_run_that_its_first_step_would_refuse_is_not_started(
    package: Package, assignments: Sequence[str], words: Sequence[str]
) -> None:
    with pytest.raises(VicurError) as refused:
        check(package, *assignments)
    assert [each for each in words if each not in str(refused.value)] == []


@pytest.mark.parametrize(
    "assignments",
    [
        [],
        ["training.steps=1", "seed=3"],
        [f"student=hf://Qwen/Qwen3-VL-2B-Instruct@{'a' * 40}", "teacher=s3://bucket/c"],
        [f"dataset=hf://org/data@{'a' * 40}"],
    ],
)
def test_a_valid_run_is_accepted(package: Package, assignments: Sequence[str]) -> None:
    check(package, *assignments)


def test_a_package_of_other_code_is_left_to_its_first_step(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicur_pipelines.submit.check.code_versions", dict)
    check(package, "training.stepz=1")


def test_a_package_without_a_preset_is_left_to_its_first_step(package: Package) -> None:
    check(replace(package, spec={**package.spec, "components": {}}), "training.stepz=1")
    distill = Path(__file__).parents[2] / "pipelines" / "compiled" / "distill.yaml"
    check(Package.read(distill))
