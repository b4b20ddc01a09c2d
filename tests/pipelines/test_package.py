"""Every component and every package compiles, and the committed packages are those of the source."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler
from kfp.dsl.base_component import BaseComponent
from vicur_pipelines.local import arguments, build, code_versions
from vicur_pipelines.package import write_package
from vicur_pipelines.table import PIPELINES

from vicur.config.ablation import AblationConfig
from vicur.config.loading import load_settings
from vicur.config.methods import METHODS
from vicur.config.run import RunConfig
from vicur.errors import VicurError
from vicur.stage.table import BENCHMARK_STAGES, STAGES, STEPS, step_labels, steps_of

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "pipelines" / "compiled"
COMPONENTS = sorted(path.parent.name for path in (ROOT / "components").glob("*/component.py"))


def compiled(pipeline: BaseComponent, folder: Path) -> list[dict[str, Any]]:
    file = folder / "package.yaml"
    compiler.Compiler().compile(pipeline, str(file))
    return list(yaml.safe_load_all(file.read_text()))


def package_of(folder: Path, config: RunConfig | AblationConfig | None, pipeline: str) -> dict[str, Any]:
    """The pipeline spec of a package."""
    write_package(folder / "p.yaml", config, None, versioned=True, pipeline=pipeline)
    return dict(next(yaml.safe_load_all((folder / "p.yaml").read_text())))


def parameters(package: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(package["root"]["inputDefinitions"]["parameters"])


def component(name: str) -> BaseComponent:
    return getattr(importlib.import_module(f"vicur_components.{name}.component"), name)


@pytest.mark.parametrize("name", COMPONENTS)
def test_each_component_compiles_to_source_without_documentation(name: str, tmp_path: Path) -> None:
    """Local runs execute this source."""
    (package,) = compiled(component(name), tmp_path)
    (executor,) = package["deploymentSpec"]["executors"].values()
    command = " ".join(executor["container"]["command"])
    assert "pip install" not in command
    assert '"""' not in command
    assert "description" not in json.dumps(package["components"])
    compile(executor["container"]["command"][-1], name, "exec")


def test_every_stage_has_a_component_and_is_declared_as_a_step() -> None:
    # The check of a GPU node is a run of its own.
    folders = {name.replace("-", "_") for name in STAGES}
    assert {*folders, "outcome", "preflight", "gpu_check"} == set(COMPONENTS)
    assert {step.stage for step in STEPS} == set(STAGES)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_committed_package_is_what_the_source_compiles_to(pipeline: str, tmp_path: Path) -> None:
    write_package(tmp_path / "package.yaml", None, None, versioned=False, pipeline=pipeline)
    fresh = (tmp_path / "package.yaml").read_text()
    assert fresh == (COMMITTED / f"{pipeline}.yaml").read_text(), "run 'make compile' and commit the result"


def tasks(package: dict[str, Any]) -> list[dict[str, Any]]:
    """The tasks that run a container."""
    definitions = [package["root"], *package["components"].values()]
    found = [task for each in definitions for task in each.get("dag", {}).get("tasks", {}).values()]
    return [task for task in found if "dag" not in package["components"][task["componentRef"]["name"]]]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_all_packages_have_one_graph_with_pools_secrets_and_retries(pipeline: str, tmp_path: Path) -> None:
    pools = {"gpu_count": 4, "queue": "gpus", "retries": 5, "gpu_steps": {"cpu": "16", "memory": "128Gi"}}
    settings = {"cluster": pools, **({"arms": [ARM]} if pipeline == "ablation" else {})}
    config = PIPELINES[pipeline].config.model_validate(settings)
    write_package(tmp_path / "p.yaml", config, None, versioned=False, pipeline=pipeline)
    package, platform = yaml.safe_load_all((tmp_path / "p.yaml").read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors.keys() == package["deploymentSpec"]["executors"].keys()
    for each in executors.values():
        assert {secret["secretName"] for secret in each["secretAsVolume"]} >= {"vicur-s3", "vicur-mlflow"}
        assert [endpoints["configMapName"] for endpoints in each["configMapAsVolume"]] == ["vicur-endpoints"]
    in_pool = {name for name, each in executors.items() if "nodeSelector" in each and each["tolerations"]}
    assert in_pool == {"exec-train", "exec-evaluate", "exec-evaluate-base"}
    assert {name for name, each in executors.items() if "pvcMount" in each} >= {"exec-base", "exec-train"}
    assert package["root"]["dag"]["tasks"]["outcome"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    found = {task["taskInfo"]["name"]: task for task in tasks(package)}
    assert found.keys() == {step.name.replace("_", "-") for step in steps_of(config)} | {"preflight", "outcome"}
    # A retry cannot mend wrong settings.
    assert found.pop("preflight").get("retryPolicy", {}).get("maxRetryCount", 0) == 0
    assert {task["retryPolicy"]["maxRetryCount"] for task in found.values()} == {5}
    uncached = {name for name, task in found.items() if not task["cachingOptions"].get("enableCache")}
    assert uncached == {"outcome"} | ({"register"} if pipeline != "ablation" else set())


ARM = {"name": "a", "about": "one", "method": "vicur"}


def test_parameters_of_a_package_are_described_and_default_to_one_method(tmp_path: Path) -> None:
    package = package_of(tmp_path, None, "distill")
    form, page = parameters(package), package["pipelineInfo"]["description"]
    assert form["methods"]["defaultValue"] == ["vicur"]
    assert set(form) == set(RunConfig.model_fields) - {"name", "cluster", "tracking"}
    for name in (*form, *METHODS):
        assert f"`{name}`" in page


@pytest.mark.parametrize("pipeline", ["distill", "ablation"])
def test_preflight_takes_all_sections_of_a_package(pipeline: str, tmp_path: Path) -> None:
    package = package_of(tmp_path, None, pipeline)
    (task,) = [task for task in tasks(package) if task["taskInfo"]["name"] == "preflight"]
    assert set(task["inputs"]["parameters"]) == {*parameters(package), "code_versions", "cluster"}
    assert all(kind in SECTION_KINDS for kind in (each["parameterType"] for each in parameters(package).values()))


SECTION_KINDS = ("LIST", "NUMBER_INTEGER", "STRING", "STRUCT")


def test_a_package_holds_configuration_and_code_versions(tmp_path: Path) -> None:
    config = RunConfig.model_validate({"methods": ["opsd"], "seed": 5, "training": {"batch_size": 5}})
    package = package_of(tmp_path, config, "distill")
    sections = {name: value["defaultValue"] for name, value in parameters(package).items()}
    assert sections["training"] == {"batch_size": 5}
    assert RunConfig.model_validate(sections) == config
    for stage, code in code_versions().items():
        assert (code in json.dumps(package)) == (stage not in BENCHMARK_STAGES)


def test_a_package_of_an_ablation_holds_its_arms_and_seeds(tmp_path: Path) -> None:
    config = load_settings(AblationConfig, ROOT / "configs" / "ablation.yaml")
    package = package_of(tmp_path, config, "ablation")
    form = parameters(package)
    sections = {name: value["defaultValue"] for name, value in form.items()}
    analysis = sections.pop("analysis")
    assert AblationConfig.model_validate({"name": config.name, **sections, **analysis}) == config


def test_a_local_run_passes_the_settings_of_its_configuration() -> None:
    config = RunConfig(seed=2)
    assert arguments(config).keys() == build(config, retries=0).component_spec.inputs.keys()
    assert arguments(config)["cells"][0]["train"]["subject"] == config.methods[0]


def test_the_steps_of_a_local_run_are_those_that_are_shown(tmp_path: Path) -> None:
    config = RunConfig(methods=("vicur",))
    package, _ = compiled(build(config, retries=0), tmp_path)
    assert len(tasks(package)) == len(step_labels(config)) + len(("outcome",))


def test_components_have_one_image() -> None:
    from vicur_components.image import IMAGE

    for name in COMPONENTS:
        assert component(name).component_spec.implementation.container.image == IMAGE


@pytest.mark.parametrize("image", ["", "registry.example.com/vicur python"])
def test_an_invalid_image_is_refused(image: str, tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="image"):
        write_package(tmp_path / "p.yaml", None, image, versioned=False)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_cannot_be_written_is_reported() -> None:
    # This folder is read-only for everybody, whoever runs the tests.
    with pytest.raises(VicurError, match=r"/proc/p\.yaml: cannot be written"):
        write_package(Path("/proc/p.yaml"), None, None, versioned=False)


def test_a_package_that_cannot_record_its_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vicur_pipelines.package.missing_libraries", lambda: ["torch"])
    package = package_of(tmp_path, None, "cluster")
    assert "does not record which code it was compiled for, because torch is not installed here" in caplog.text
    assert not [code for code in code_versions().values() if code in json.dumps(package)]
