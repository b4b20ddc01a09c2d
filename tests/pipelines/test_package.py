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
from vicur.stage.table import STAGES, STEPS, step_labels, steps_of

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
    (package,) = compiled(component(name), tmp_path)
    (executor,) = package["deploymentSpec"]["executors"].values()
    command = " ".join(executor["container"]["command"])
    assert "pip install" not in command
    assert '"""' not in command
    assert "description" not in json.dumps(package["components"])
    compile(executor["container"]["command"][-1], name, "exec")


def test_every_stage_has_a_component_and_is_declared_as_a_step() -> None:
    assert {*STAGES, "outcome", "preflight"} == set(COMPONENTS)
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


@pytest.mark.parametrize("pipeline", ["distill", "ablation"])
def test_steps_have_a_run_id_retries_and_an_exit_step_that_always_runs(pipeline: str, tmp_path: Path) -> None:
    package, platform = compiled(PIPELINES[pipeline].package(code_versions(), None), tmp_path)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors.keys() == package["deploymentSpec"]["executors"].keys()
    assert package["root"]["dag"]["tasks"]["outcome"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    config = RunConfig() if pipeline == "distill" else AblationConfig.model_validate({"arms": [ARM]})
    found = tasks(package)
    assert len(found) == len(steps_of(config)) + len(("preflight", "outcome"))
    for task in found:
        if task["taskInfo"]["name"] == "preflight":
            # A retry cannot mend wrong settings.
            assert task.get("retryPolicy", {}).get("maxRetryCount", 0) == 0
            continue
        assert task["retryPolicy"]["maxRetryCount"] == 2
        # A training that fails after hours is retried, too.
        assert int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s")) >= 86400
    uncached = {task["taskInfo"]["name"] for task in found if not task["cachingOptions"].get("enableCache")}
    assert uncached == {"preflight", "outcome"} | ({"register"} if pipeline == "distill" else set())


ARM = {"name": "a", "about": "one", "method": "vicur"}


def test_parameters_of_a_package_are_described_and_default_to_one_method(tmp_path: Path) -> None:
    form = parameters(package_of(tmp_path, None, "distill"))
    assert all("description" in value for value in form.values())
    assert form["methods"]["defaultValue"] == ["vicur"]
    assert set(form) == set(RunConfig.model_fields) - {"name", "cluster"}
    for method in METHODS:
        assert method in form["methods"]["description"]


@pytest.mark.parametrize("pipeline", ["distill", "ablation"])
def test_preflight_takes_all_sections_of_a_package(pipeline: str, tmp_path: Path) -> None:
    package = package_of(tmp_path, None, pipeline)
    (task,) = [task for task in tasks(package) if task["taskInfo"]["name"] == "preflight"]
    assert set(task["inputs"]["parameters"]) == {*parameters(package), "code_versions"}
    assert all(kind in SECTION_KINDS for kind in (each["parameterType"] for each in parameters(package).values()))


SECTION_KINDS = ("LIST", "NUMBER_INTEGER", "STRING", "STRUCT")


def test_a_package_holds_configuration_and_code_versions(tmp_path: Path) -> None:
    config = RunConfig.model_validate({"methods": ["opsd"], "seed": 5, "training": {"batch_size": 5}})
    package = package_of(tmp_path, config, "distill")
    sections = {name: value["defaultValue"] for name, value in parameters(package).items()}
    assert sections["training"] == {"batch_size": 5}
    assert RunConfig.model_validate(sections) == config
    for code in code_versions().values():
        assert code in json.dumps(package)


def test_a_package_of_an_ablation_holds_its_arms_and_seeds(tmp_path: Path) -> None:
    config = load_settings(AblationConfig, ROOT / "configs" / "ablation.yaml")
    package = package_of(tmp_path, config, "ablation")
    form = parameters(package)
    sections = {name: value["defaultValue"] for name, value in form.items()}
    analysis = sections.pop("analysis")
    assert AblationConfig.model_validate({"name": config.name, **sections, **analysis}) == config
    assert all("description" in value for value in form.values())


@pytest.mark.parametrize(
    ("pipeline", "file"), [("ablation", "ablation.yaml"), ("distill", "local.yaml"), ("cluster", "qwen3-vl-8b.yaml")]
)
def test_the_arguments_of_a_package_fit_into_a_pods_environment(pipeline: str, file: str, tmp_path: Path) -> None:
    """Argo passes them twice, and a template may have 128 KiB."""
    config = load_settings(PIPELINES[pipeline].config, ROOT / "configs" / file)
    form = parameters(package_of(tmp_path, config, pipeline))
    assert len(json.dumps({name: value.get("defaultValue") for name, value in form.items()})) < 64_000


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
