"""A change of a run repeats the steps that depend on it, and Kubeflow Pipelines reuses the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from vicur_pipelines.package import write_package

from tests.pipelines.kfp_cache import Cache
from tests.pipelines.kfp_execution import Execution
from tests.pipelines.preflight_outputs import preflight_outputs
from vicur.config.run import RunConfig

PRESET: dict[str, Any] = {"methods": ["opsd", "vicur"], "cluster": {"gpu_count": 0}}
SHARED = {"prepare", "extract", "base", "evaluate-base"}
ALWAYS = {"preflight", "register", "outcome"}


def of_cells(*methods: str) -> set[str]:
    return {f"{step} {method}" for step in ("train", "evaluate") for method in methods}


def execution(folder: Path, form: dict[str, Any], **settings: Any) -> Execution:
    config = RunConfig.model_validate({**PRESET, **settings})
    write_package(folder / "p.yaml", config, None, versioned=True, pipeline="cluster")
    return Execution(folder / "p.yaml", form, preflight_outputs(folder))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """The cache after a first run."""
    cache = Cache()
    assert cache.run(execution(tmp_path, {})) == SHARED | of_cells("opsd", "vicur") | {"compare"} | ALWAYS
    return cache


@pytest.mark.parametrize(
    ("form", "settings", "repeated"),
    [
        ({}, {}, set()),
        ({"train_methods": ["opsd", "vicur", "grpo"]}, {}, of_cells("grpo") | {"compare"}),
        ({"train_methods": ["grpo", "opsd", "vicur"]}, {}, of_cells("grpo") | {"compare"}),
        ({"train_methods": ["vicur"]}, {}, {"compare"}),
        ({"model_gate_margin": 0.5}, {}, set()),
        ({"model_registered": "other"}, {}, set()),
        ({"overrides": {"training.per_method.vicur.steps": 7}}, {}, of_cells("vicur") | {"compare"}),
        (
            {"overrides": {"evaluation.batch_size": 7}},
            {},
            {"evaluate-base", "evaluate opsd", "evaluate vicur", "compare"},
        ),
        ({"seed": 1}, {}, SHARED | of_cells("opsd", "vicur") | {"compare"}),
        ({}, {"tracking": {"uri": "http://other:5000", "experiment": "other"}}, set()),
        ({}, {"cluster": {"gpu_count": 0, "retries": 7, "currency": "EUR"}}, set()),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_change_repeats_the_steps_that_depend_on_it(
    cache: Cache, tmp_path: Path, form: dict[str, Any], settings: dict[str, Any], repeated: set[str]
) -> None:
    assert cache.run(execution(tmp_path, form, **settings)) == repeated | ALWAYS


def test_other_code_in_the_image_repeats_its_steps_although_the_package_is_the_same(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = execution(tmp_path, {})
    monkeypatch.setattr("vicur.stage.runner.code_version", lambda module: f"new {module}")
    assert cache.run(same) == SHARED | of_cells("opsd", "vicur") | {"compare"} | ALWAYS
