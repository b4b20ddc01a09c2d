"""Every step and the pipeline compile, and the committed package is the one that the source compiles to."""

from __future__ import annotations

import importlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import vicur_components
import yaml
from kfp import compiler
from kfp.dsl.base_component import BaseComponent
from vicur_pipelines.distill import distill_pipeline
from vicur_pipelines.graph import GRAPHS, graph_of
from vicur_pipelines.local import code_versions
from vicur_pipelines.package import write_package

from vicur.config.ablation import AblationConfig
from vicur.config.loading import load_settings
from vicur.config.methods import METHODS
from vicur.config.run import RunConfig
from vicur.errors import VicurError
from vicur.stage.table import STAGES

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "pipelines" / "compiled"
STEPS = sorted(path.parent.name for path in (ROOT / "components").glob("*/component.py"))


def compiled(pipeline: BaseComponent, folder: Path) -> list[dict[str, Any]]:
    file = folder / "package.yaml"
    compiler.Compiler().compile(pipeline, str(file))
    return list(yaml.safe_load_all(file.read_text()))


def component(step: str) -> BaseComponent:
    return getattr(importlib.import_module(f"vicur_components.{step}.component"), step)


@pytest.mark.parametrize("step", STEPS)
def test_each_step_compiles_and_describes_its_parameters(step: str, tmp_path: Path) -> None:
    (package,) = compiled(component(step), tmp_path)
    (definition,) = package["components"].values()
    inputs = definition["inputDefinitions"]
    described = {**inputs.get("artifacts", {}), **inputs.get("parameters", {})}
    undescribed = [name for name, value in described.items() if "description" not in value and name != "status"]
    assert undescribed == []
    (executor,) = package["deploymentSpec"]["executors"].values()
    command = " ".join(executor["container"]["command"])
    assert "pip install" not in command


def test_there_is_a_step_for_every_stage() -> None:
    assert {*STAGES, "outcome", "preflight"} == set(STEPS)


@pytest.mark.parametrize("pipeline", GRAPHS)
def test_the_committed_package_is_what_the_source_compiles_to(pipeline: str, tmp_path: Path) -> None:
    write_package(tmp_path / "package.yaml", None, None, versioned=False, pipeline=pipeline)
    fresh = (tmp_path / "package.yaml").read_text()
    assert fresh == (COMMITTED / f"{pipeline}.yaml").read_text(), "run 'make compile' and commit the result"


def test_the_pipeline_has_a_run_id_retries_and_an_exit_handler_that_always_runs(tmp_path: Path) -> None:
    package, platform = compiled(distill_pipeline(defaultdict(str)), tmp_path)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors.keys() == package["deploymentSpec"]["executors"].keys()
    tasks = package["root"]["dag"]["tasks"]
    assert tasks["outcome"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    inner = [
        task
        for definition in package["components"].values()
        for task in definition.get("dag", {}).get("tasks", {}).values()
        if "dag" not in package["components"][task["componentRef"]["name"]]
    ]
    # evaluate stands for base and for students; ablate is of the other pipeline.
    assert len(inner) == len(STAGES)
    for task in [*inner, tasks["outcome"]]:
        assert task["retryPolicy"]["maxRetryCount"] == 2
        # A training that fails after hours is tried again too.
        assert int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s")) >= 86400
    uncached = {task["taskInfo"]["name"] for task in inner if not task["cachingOptions"].get("enableCache")}
    assert uncached == {"register"}


def test_parameters_of_the_pipeline_are_described_and_default_to_one_method(tmp_path: Path) -> None:
    package, _ = compiled(distill_pipeline(defaultdict(str)), tmp_path)
    parameters = package["root"]["inputDefinitions"]["parameters"]
    assert all("description" in value for value in parameters.values())
    assert parameters["methods"]["defaultValue"] == ["vicur"]
    assert set(parameters) == set(RunConfig.model_fields) - {"name", "cluster"}
    for method in METHODS:
        assert method in parameters["methods"]["description"]


def test_a_package_for_a_cluster_carries_configuration_image_and_code_versions(tmp_path: Path) -> None:
    config = RunConfig(methods=("opsd",), seed=5)
    write_package(tmp_path / "p.yaml", config, None, versioned=True)
    text = (tmp_path / "p.yaml").read_text()
    package = next(yaml.safe_load_all(text))
    parameters = package["root"]["inputDefinitions"]["parameters"]
    assert parameters["methods"]["defaultValue"] == ["opsd"]
    assert parameters["seed"]["defaultValue"] == 5
    assert parameters["training"]["defaultValue"]["batch_size"] == config.training.batch_size
    for stage, code in code_versions().items():
        assert code in text or stage == "ablate"


def test_arguments_say_the_same_as_the_configuration() -> None:
    config = RunConfig(seed=2)
    arguments = graph_of(config).arguments(config)
    assert RunConfig.model_validate({**arguments, "name": config.name}) == config
    assert arguments.keys() == RunConfig.model_fields.keys() - {"name", "cluster"}


def test_a_package_of_an_ablation_carries_its_cells(tmp_path: Path) -> None:
    config = load_settings(AblationConfig, ROOT / "configs" / "ablation.yaml")
    write_package(tmp_path / "p.yaml", config, None, versioned=True, pipeline="ablation")
    text = (tmp_path / "p.yaml").read_text()
    parameters = next(yaml.safe_load_all(text))["root"]["inputDefinitions"]["parameters"]
    cells = parameters["cells"]["defaultValue"]
    assert [cell["subject"] for cell in cells] == [cell.subject for cell in config.cells()]
    assert {arm["name"] for arm in parameters["analysis"]["defaultValue"]["arms"]} == {arm.name for arm in config.arms}
    assert all("description" in value for value in parameters.values())
    for stage, code in code_versions().items():
        assert code in text or stage in ("compare", "register")


def test_components_have_one_image() -> None:
    from vicur_components.image import IMAGE

    assert vicur_components.__doc__
    for step in STEPS:
        spec = component(step).component_spec
        assert spec.implementation.container.image == IMAGE


@pytest.mark.parametrize("image", ["", "registry.example.com/vicur python"])
def test_what_is_no_image_is_refused(image: str, tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="image"):
        write_package(tmp_path / "p.yaml", None, image, versioned=False)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_file_is_told_as_one() -> None:
    """Such a folder is read-only for everybody, whoever runs the tests."""
    with pytest.raises(VicurError, match=r"/proc/p\.yaml: cannot be written"):
        write_package(Path("/proc/p.yaml"), None, None, versioned=False)
